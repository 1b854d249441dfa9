"""Print what a terminal would obey, then fail so that it is shown.

step: trial
expect: child_died
policy: refuses
"""

import os, sys

sys.stderr.write("\x1b[2J\x1b]0;mine\x07\r\0" * 1_000)
sys.stderr.flush()
os._exit(9)
