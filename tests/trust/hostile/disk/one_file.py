"""Fill the disk with one file (bounded: 2 GiB).

step: trial
expect: error, disk, child_died
policy: refuses
"""

block = b"x" * (1 << 20)
with open("large", "wb", 0) as file:
    for _ in range(2 << 10):
        file.write(block)
