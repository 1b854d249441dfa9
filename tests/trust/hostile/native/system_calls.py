"""Ask the kernel for what only administrators and debuggers need.

step: trial
expect: honest
policy: refuses
"""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
calls = {
    "io_uring_setup": (425, 1, bytes(120)),
    "bpf": (321, 0, bytes(72), 72),
    "perf_event_open": (298, bytes(120), 0, -1, -1, 0),
    "userfaultfd": (323, 1),
    "add_key": (248, b"user", b"x", b"x", 1, -4),
    "keyctl": (250, 0, -4, 1),
    "request_key": (249, b"user", b"x", None, -4),
    "name_to_handle_at": (303, -100, b".", bytes(136), bytes(8), 0),
    "open_tree": (428, -100, b".", 1),
    "fsopen": (430, b"tmpfs", 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, b"", 0, b""),
    "swapoff": (168, b"nothing"),
    "quotactl": (179, 0, None, 0, None),
    "syslog": (103, 10, None, 0),
    "kcmp": (312, BAIT_PID, BAIT_PID, 0, 0, 0),
    "personality": (135, 0x0040000),
}
for name, (number, *arguments) in calls.items():
    if libc.syscall(number, *arguments) >= 0:
        escaped(name)
