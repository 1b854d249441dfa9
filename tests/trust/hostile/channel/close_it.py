"""Close the connection and go on.

step: trial
expect: child_died, timeout
policy: refuses
deadline_s: 1.5
"""

import os, time

os.close(3)
time.sleep(60)
