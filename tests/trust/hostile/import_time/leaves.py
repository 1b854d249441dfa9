"""Leave the process with a code that looks like success.

step: gate
expect: crashed
policy: refuses
"""

import os

os._exit(0)
