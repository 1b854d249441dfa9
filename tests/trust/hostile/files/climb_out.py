"""Write outside by relative paths and by a link inside the scratch folder.

step: trial
expect: honest
policy: refuses
"""

import os

quietly(os.symlink, BAIT, "way_out")
attempt("write through a link", lambda: open("way_out/new", "x"))
depth = "../" * 30
attempt("write by a relative path", lambda: open(f"{depth}{BAIT}/new", "x"))
attempt(
    "write by a folder's descriptor", lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=os.open(BAIT, os.O_PATH))
)
