"""Leave device nodes and socket files.

step: trial
expect: honest
policy: refuses
"""

import os, socket, stat

for mode in (stat.S_IFCHR, stat.S_IFBLK):
    attempt("make a device", lambda mode=mode: os.mknod(f"device{mode}", 0o666 | mode, os.makedev(1, 1)))
attempt("bind a socket file", lambda: socket.socket(socket.AF_UNIX).bind("result.json"))
