"""Leave folders that their owner may not enter, with files inside.

step: trial
expect: honest, error
policy: refuses
"""

import os

os.makedirs("closed/inner")
open("closed/inner/file", "x").close()
quietly(os.chmod, "closed/inner", 0)
quietly(os.chmod, "closed", 0)
quietly(os.chmod, ".", 0)
