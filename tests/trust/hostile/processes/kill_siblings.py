"""Signal other children of the same server.

step: trial
expect: honest
policy: refuses
"""

import os, signal

for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
    attempt(f"signal {number} to a sibling", lambda number=number: os.kill(SIBLING_PID, number))
