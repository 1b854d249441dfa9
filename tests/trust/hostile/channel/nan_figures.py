"""Send a loss that is no number.

step: trial
expect: error, nonfinite
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("begun", {"task": FIRST_TASK}))
point = {"task": FIRST_TASK, "step": 1, "loss": float("nan"), "grad_norm": float("inf"), "learning_rate": 0.0}
os.write(3, frame("point", point))
