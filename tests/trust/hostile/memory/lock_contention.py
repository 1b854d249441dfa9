"""Map and unmap memory in many threads, so that whoever looks at the process has to wait.

step: gate
expect: timeout, crashed
policy: refuses
deadline_s: 1.2
"""

import mmap
import threading


def act():
    while True:
        with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
            mapped[::4096] = bytes(8 << 10)


for _ in range(16):
    threading.Thread(target=act).start()
