"""Remove, rename, truncate and exchange files outside the scratch folder.

step: trial
expect: honest
policy: refuses
"""

import os, shutil

attempt("remove", lambda: os.unlink(MARKER))
attempt("rename", lambda: os.rename(MARKER, f"{BAIT}/renamed"))
attempt("move into the scratch folder", lambda: os.rename(MARKER, "stolen"))
attempt("truncate", lambda: os.truncate(MARKER, 0))
attempt("remove a folder", lambda: os.rmdir(f"{BAIT}/empty"))
shutil.rmtree(f"{BAIT}/empty", ignore_errors=True)
