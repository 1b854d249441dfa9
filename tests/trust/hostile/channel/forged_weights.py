"""Send weights of its own making instead of training.

step: trial
expect: error, child_died
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


import numpy as np

weight = np.zeros((256, 32), np.float32)
entries = [{"name": name, "dtype": "float32", "shape": [256, 32]} for name in ("head.weight", "embedding.weight")]
os.write(3, frame("begun", {"task": FIRST_TASK}))
os.write(3, frame("weights", {"task": FIRST_TASK, "ffn_width": 160}, entries, weight.tobytes() * 2))
os.read(3, 1)
