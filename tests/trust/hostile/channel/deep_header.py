"""Send JSON that is nested a hundred thousand levels deep.

step: trial
expect: error
policy: refuses
"""

import os, struct

header = b"[" * 100_000 + b"]" * 100_000
os.write(3, struct.pack("<4sI", b"aro1", len(header)) + header)
