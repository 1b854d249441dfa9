"""Raise the recursion limit and recurse until the stack is gone.

step: gate
expect: crashed, refused
policy: refuses
"""

import sys

sys.setrecursionlimit(1_000_000_000)


def again(*arguments):
    return sorted([1, 2], key=again)


again()
