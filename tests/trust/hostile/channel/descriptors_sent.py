"""Send open files over the connection until the receiver has none left.

step: trial
expect: error, honest
policy: refuses
"""

import os, socket

channel = socket.socket(fileno=os.dup(3))
for _ in range(50):
    socket.send_fds(channel, [b"x"], [0] * 100)
