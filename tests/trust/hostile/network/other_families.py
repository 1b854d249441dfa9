"""Open sockets of families that filters forget: netlink, packet, vsock, bluetooth, the kernel's ciphers.

step: trial
expect: honest
policy: refuses
"""

import socket

for family, kind in ((16, 3), (17, 3), (40, 1), (31, 3), (38, 5), (44, 3), (2, 3)):
    attempt(f"socket of family {family}", lambda family=family, kind=kind: socket.socket(family, kind).close())
