"""Claim a failure of a kind that would be blamed on somebody else.

step: trial
expect: error, child_died
policy: refuses
"""

import json, os, struct


def frame(kind, body, arrays=(), data=b""):
    header = json.dumps({"kind": kind, "body": body, "arrays": list(arrays)}).encode()
    return struct.pack("<4sI", b"aro1", len(header)) + header + data


os.write(3, frame("failed", {"failure": "worker_died", "detail": "the machine is broken" * 10_000}))
