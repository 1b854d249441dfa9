"""Fill the folder with files (bounded: 50,000).

step: trial
expect: disk
policy: refuses
deadline_s: 8.0
"""

import time

for number in range(50_000):
    open(f"small{number}", "x").close()
time.sleep(60)
