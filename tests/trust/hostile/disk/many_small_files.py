"""Fill the folder with files (bounded: 50,000).

step: trial
expect: disk
policy: refuses
"""

import time

for number in range(50_000):
    open(f"small{number}", "x").close()
time.sleep(60)
