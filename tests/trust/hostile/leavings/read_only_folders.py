"""Leave folders that may be read and not changed, and files without any mode.

step: trial
expect: honest
policy: refuses
"""

import os

os.mkdir("fixed")
open("fixed/file", "x").close()
quietly(os.chmod, "fixed/file", 0)
quietly(os.chmod, "fixed", 0o500)
