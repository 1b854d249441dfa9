"""Catch whatever is thrown at it and go on.

step: gate
expect: timeout
policy: cannot see, time is not in the text
deadline_s: 1.0
"""

while True:
    try:
        while True:
            pass
    except BaseException:
        continue
