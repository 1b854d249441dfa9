"""Send messages without end, faster than anyone reads them.

step: trial
expect: error, timeout
policy: refuses
deadline_s: 1.5
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


message = frame("begun", {"task": FIRST_TASK, "noise": "x" * 100_000})
while True:
    os.write(3, message)
