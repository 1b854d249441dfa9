"""Block and ignore every signal, then loop.

step: gate
expect: timeout
policy: refuses
deadline_s: 1.0
"""

import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    pass
