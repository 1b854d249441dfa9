"""Announce an array of half a terabyte.

step: trial
expect: error
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
entry = {"name": "head.weight", "dtype": "float64", "shape": [1 << 36]}
os.write(3, frame("weights", {"task": FIRST_TASK, "ffn_width": 160}, [entry]))
