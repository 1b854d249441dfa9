"""Compute a power that takes minutes in C.

step: gate
expect: timeout
policy: cannot see, it does not compute
deadline_s: 1.0
"""

number = 7 ** (1 << 27)
