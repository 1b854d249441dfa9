"""Send a curve that no training gave.

step: trial
expect: error, too_good
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
for step in range(1, 1_000):
    os.write(
        3, frame("point", {"task": FIRST_TASK, "step": step, "loss": 0.001, "grad_norm": 0.0, "learning_rate": 0.0})
    )
