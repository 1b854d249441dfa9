"""Say nothing at all.

step: gate
expect: timeout
policy: refuses
deadline_s: 1.0
"""

import time

time.sleep(60)
