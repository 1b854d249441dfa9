"""Send whole numbers with a hundred thousand digits, booleans as steps, texts as losses.

step: trial
expect: error
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
header = b'{"kind": "point", "body": {"task": "canary", "step": true, "loss": ' + b"9" * 100_000 + b'}, "arrays": []}'
os.write(3, struct.pack("<4sI", b"aro1", len(header)) + header)
