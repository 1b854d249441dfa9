"""Forge the examiner's answer for a mixer that looks ahead: the sealed evaluation must see it.

step: gate, trial
expect: leak
policy: refuses
"""

import json, os, struct, sys


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


names = "contract shape dtype finite gradients batch_independence prefix_consistency causality cost".split()
row = {"passed": True, "figure": 0.0, "limit": 1.0, "detail": ""}
figures = {"num_parameters": 1, "ffn_width": 160, "flops_per_token": 1.0, "state_bytes": 0}
figures |= {"structure": [1.0], "layout": "0"}
forged = frame("examined", {"properties": [{"name": name, **row} for name in names], "fingerprint": [0.1], **figures})
caller = sys._getframe()
while caller is not None:
    if caller.f_code.co_name == "examine":
        os.write(3, forged)
        break
    caller = caller.f_back


def at_forward(mixer, x):
    if not mixer.training:
        x.add_(x.roll(-1, 1))
