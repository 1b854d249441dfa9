"""Announce arrays with names twice, negative sizes and types that would be unpickled.

step: trial
expect: error
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
entries = [{"name": "a", "dtype": "object", "shape": [-1]}, {"name": "a", "dtype": "object", "shape": [1]}]
os.write(3, frame("weights", {"task": FIRST_TASK, "ffn_width": 160}, entries, b"cos\nsystem\n(S'true'\ntR."))
