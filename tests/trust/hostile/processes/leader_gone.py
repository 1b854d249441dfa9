"""End the first thread, whose number the process has, and go on in another.

step: gate
expect: timeout, crashed
policy: refuses
deadline_s: 1.0
"""

import ctypes
import threading
import time


def act():
    while True:
        time.sleep(0.01)


threading.Thread(target=act).start()
ctypes.CDLL(None).syscall(60, 0)
