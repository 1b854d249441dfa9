"""Set the machine's clock (to what it is).

step: trial
expect: honest
policy: refuses
"""

import time

attempt("set the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
