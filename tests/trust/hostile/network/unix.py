"""Connect to a socket file and to an abstract name.

step: trial
expect: honest
policy: refuses
"""

import socket

for address in (UNIX_PATH, "\0" + ABSTRACT_NAME):
    attempt(f"connect to {address!r}", lambda address=address: socket.socket(socket.AF_UNIX).connect(address))
    attempt("send", lambda address=address: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", address))
