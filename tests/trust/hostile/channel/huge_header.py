"""Announce a header of four gigabytes.

step: trial
expect: error
policy: refuses
"""

import os, struct

os.write(3, struct.pack("<4sI", b"aro1", 0xFFFFFFFF) + b"{" * 1000)
