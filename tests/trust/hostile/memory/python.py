"""Take memory from Python without end (bounded: 20 GiB).

step: gate
expect: crashed, refused
policy: cannot see, it counts no bytes
"""

kept = []
for _ in range(320):
    kept.append(b"x" * (64 << 20))
