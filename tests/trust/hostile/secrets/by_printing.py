"""Print whatever can be read, and die so that the log is looked at.

step: trial
expect: child_died
policy: refuses
"""

import os, sys

for path in (KEY_FILE, f"/proc/{TEST_PID}/environ", f"/proc/{SERVER_PID}/environ", f"{HOME_FOLDER}/.netrc"):
    try:
        print(open(path).read(), file=sys.stderr, flush=True)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)
os._exit(5)
