"""Send a datagram, as a question for a name would.

step: trial
expect: honest
policy: refuses
"""

import socket

attempt(
    "send a datagram",
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret.example", ("127.0.0.1", UDP_PORT)),
)
