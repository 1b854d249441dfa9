"""Search its own memory for a key that the parent's environment holds.

step: trial
expect: honest, timeout
policy: refuses
deadline_s: 4.0
"""

import re

pattern = re.compile(SECRET_PREFIX.encode() + b"[0-9a-f]{16}")


def search():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if "rw-p" in line or "rw-s" in line:
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(low)
                if found := pattern.search(memory.read(min(high - low, 64 << 20))):
                    escaped("secret in memory: " + found.group().decode())


try:
    search()
except OSError:
    pass
