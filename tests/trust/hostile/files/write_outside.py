"""Write over a file, append to it and make new ones outside the scratch folder.

step: trial
expect: honest
policy: refuses
"""

import os

attempt("overwrite", lambda: open(MARKER, "w").write("mine"))
attempt("append", lambda: open(MARKER, "a").write("mine"))
attempt("create", lambda: open(f"{BAIT}/new", "x"))
attempt("make a folder", lambda: os.mkdir(f"{BAIT}/folder"))
attempt("make a link", lambda: os.symlink("/", f"{BAIT}/link"))
attempt("make a fifo", lambda: os.mkfifo(f"{BAIT}/fifo"))
