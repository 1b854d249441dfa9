"""Change what later processes import: a module, its bytecode, a .pth file.

step: trial
expect: honest
policy: refuses
"""

import os, struct

attempt("overwrite a module", lambda: open(f"{PACKAGES}/bait_module.py", "w").write("1/0"))
attempt("add a .pth file", lambda: open(f"{PACKAGES}/mine.pth", "x"))
attempt("add a sitecustomize", lambda: open(f"{PACKAGES}/sitecustomize.py", "x"))
cache = f"{PACKAGES}/__pycache__"
attempt("replace bytecode", lambda: os.mkdir(cache) or open(f"{cache}/bait_module.cpython-311.pyc", "wb").write(b"x"))
