"""Start threads without end (bounded: 4,000).

step: gate
expect: timeout, crashed, refused
policy: refuses
deadline_s: 1.5
"""

import threading, time

for _ in range(4_000):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
