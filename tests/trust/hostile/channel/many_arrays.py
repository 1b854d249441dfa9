"""Send as many arrays with as long names as a header can hold.

step: trial
expect: error, child_died
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
entries = [{"name": f"{number:0>40}", "dtype": "bool", "shape": [1]} for number in range(9_000)]
os.write(3, frame("weights", {"task": FIRST_TASK, "ffn_width": 160}, entries, b"\2" * 9_000))
os.read(3, 1)
