"""Write a program into memory and execute it from there.

step: trial
expect: honest
policy: refuses
"""

import os, struct

# ELF for x86-64: exit(42).
code = bytes.fromhex("bf2a000000b83c0000000f05")
elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(code), 120 + len(code), 4096) + code


def run(fd, path):
    os.write(fd, elf)
    os.fchmod(fd, 0o700)
    if path is not None:
        os.close(fd)
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(path or fd, ["x"], {})
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 42:
        raise OSError("not executed")


attempt("execute from memory", lambda: run(os.memfd_create("x", 0), None))
attempt("execute from the scratch folder", lambda: run(os.open("program", os.O_CREAT | os.O_RDWR, 0o700), "./program"))
