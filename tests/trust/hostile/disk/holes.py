"""Make a file that claims to hold an exabyte.

step: trial
expect: honest
policy: refuses
"""

import os

with open("large", "wb") as file:
    attempt("truncate", lambda: os.ftruncate(file.fileno(), 1 << 60))
    attempt("allocate", lambda: os.posix_fallocate(file.fileno(), 0, 1 << 40))
