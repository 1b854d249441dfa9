"""Read and change the scratch folders of other children of the same server.

step: trial
expect: honest
policy: refuses
"""

import os

here = os.getcwd()
attempt("list all scratch folders", lambda: os.listdir(os.path.dirname(here)))
attempt("read another child's file", lambda: open(f"{SIBLING_SCRATCH}/notes").read())
attempt("write into another child's folder", lambda: open(f"{SIBLING_SCRATCH}/mine", "x"))
attempt("write beside them", lambda: open(f"{os.path.dirname(here)}/mine", "x"))
