"""Answer the sealed evaluation itself, with hidden states of the wrong shape.

step: trial
expect: error
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


def at_forward(mixer, x):
    if not mixer.training:
        entry = {"name": "hidden_NTD", "dtype": "float32", "shape": [1, 1, 32]}
        os.write(3, frame("hidden", {}, [entry], b"\0" * 128))
