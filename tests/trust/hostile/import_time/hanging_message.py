"""Raise an error whose text takes for ever.

step: gate
expect: timeout
policy: cannot see, it does not run the text
deadline_s: 1.0
"""


class Enough(Exception):
    def __str__(self):
        while True:
            pass


raise Enough
