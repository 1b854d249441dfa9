"""Write random bytes into the connection to the parent.

step: trial
expect: error
policy: refuses
"""

import os

os.write(3, os.urandom(4096))
