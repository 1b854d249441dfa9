"""Open descriptors until there are none left, and go on.

step: trial
expect: honest, error
policy: refuses
"""

import os

try:
    while True:
        os.dup(0)
except OSError:
    pass
