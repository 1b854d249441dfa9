"""Match a pattern that takes longer than the universe has been there.

step: gate
expect: timeout
policy: refuses
deadline_s: 1.0
"""

import re

re.match(r"(a+)+$", "a" * 64 + "b")
