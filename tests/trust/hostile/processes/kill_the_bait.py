"""Signal a process that it did not start, one by one and as a group.

step: trial
expect: honest
policy: refuses
"""

import os, signal

for number in (0, signal.SIGCONT, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
    attempt(f"signal {number}", lambda number=number: os.kill(BAIT_PID, number))
    attempt(f"signal {number} to the group", lambda number=number: os.killpg(BAIT_PID, number))
