"""Signal its parent, the fork server.

step: trial
expect: honest
policy: refuses
"""

import os, signal

for number in (0, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
    if os.getppid() > 1:
        attempt(f"signal {number} to the parent", lambda number=number: os.kill(os.getppid(), number))
attempt("signal to the server by its number", lambda: os.kill(SERVER_PID, signal.SIGTERM))
