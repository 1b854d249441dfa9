"""Fork inside forward, so that two processes speak for one.

step: trial
expect: error, processes, child_died, timeout, leak, honest
policy: refuses
deadline_s: 4.0
"""

import os


def at_forward(mixer, x):
    quietly(os.fork)
