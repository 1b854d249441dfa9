"""Send half a message and then nothing.

step: trial
expect: timeout
policy: refuses
deadline_s: 1.0
"""

import os, struct, time

os.write(3, struct.pack("<4sI", b"aro1", 1000) + b"{")
time.sleep(60)
