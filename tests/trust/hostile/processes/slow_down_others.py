"""Change priority, processors and limits of a process that it did not start.

step: trial
expect: honest
policy: refuses
"""

import os, resource

attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, BAIT_PID, 19))
attempt("processors", lambda: os.sched_setaffinity(BAIT_PID, {0}))
attempt("limits", lambda: resource.prlimit(BAIT_PID, resource.RLIMIT_NOFILE, (8, 8)))
