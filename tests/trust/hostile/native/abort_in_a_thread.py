"""Abort the process from a thread that Python does not know.

step: trial
expect: child_died
policy: refuses
"""

import ctypes, threading

threading.Timer(0.05, ctypes.CDLL(None).abort).start()


def at_forward(mixer, x):
    import time

    time.sleep(0.2)
