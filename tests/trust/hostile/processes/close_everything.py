"""Close every descriptor.

step: trial
expect: child_died, error
policy: refuses
"""

import os

os.closerange(0, 1_000)
