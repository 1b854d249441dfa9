"""Send half a message and leave.

step: trial
expect: child_died
policy: refuses
"""

import os, struct

os.write(3, struct.pack("<4sI", b"aro1", 1000) + b"{")
os._exit(0)
