"""Ask by the calls of 32 bits, which a filter for 64 may not see.

step: trial
expect: child_died, honest, error
policy: refuses
"""

import ctypes, mmap, os

if os.uname().machine == "x86_64":
    # mov eax, 20 (getpid of i386); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0:
        escaped("a system call of 32 bits")
