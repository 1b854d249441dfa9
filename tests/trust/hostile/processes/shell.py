"""Run other programs: a shell, an interpreter.

step: trial
expect: honest
policy: refuses
"""

import os, subprocess, sys

attempt("a shell", lambda: subprocess.run(["/bin/sh", "-c", f"echo > {BAIT}/new"], check=True))
attempt("an interpreter", lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
if os.system(f"echo > {BAIT}/new") == 0:
    escaped("os.system")
