"""Leave shared memory behind, which outlives its maker.

step: trial
expect: honest
policy: refuses
"""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)


def shared():
    if libc.shm_open(f"/{SHARED_NAME}".encode(), 0o102, 0o600) < 0:
        raise OSError(ctypes.get_errno(), "shm_open")


attempt("make shared memory", shared)
attempt("write to /dev/shm", lambda: open(f"/dev/shm/{SHARED_NAME}", "x"))
