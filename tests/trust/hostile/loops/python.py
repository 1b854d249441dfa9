"""Loop for ever while it is loaded.

step: gate
expect: timeout
policy: cannot see, time is not in the text
deadline_s: 1.0
"""

while True:
    pass
