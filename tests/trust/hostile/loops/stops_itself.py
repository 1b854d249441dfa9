"""Stop its own process, so that nothing of it runs that could notice a deadline.

step: gate
expect: timeout, passed, crashed
policy: refuses
deadline_s: 1.0
"""

import os, signal

os.kill(os.getpid(), signal.SIGSTOP)
