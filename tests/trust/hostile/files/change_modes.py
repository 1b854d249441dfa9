"""Change modes, times and attributes of files outside, which file rules often forget.

step: trial
expect: honest
policy: refuses
"""

import os

attempt("chmod", lambda: os.chmod(MARKER, 0o777))
attempt("utime", lambda: os.utime(MARKER, (1, 1)))
attempt("chown", lambda: os.chown(MARKER, os.getuid(), -1))
attempt("setxattr", lambda: os.setxattr(MARKER, "user.mine", b"1"))
