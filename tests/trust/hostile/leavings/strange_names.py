"""Leave names that are no text, that look like options, and that are as long as names can be.

step: trial
expect: honest
policy: refuses
"""

import os

for name in (b"\xff\xfe", b"-rf", b"a\nb", b" ", b"*", b"~", b"x" * 255, "\u202e".encode(), b"\x1b[2J"):
    os.mkdir(name)
    open(os.path.join(name, name), "x").close()
