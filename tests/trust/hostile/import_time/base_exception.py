"""Raise what is no Exception, with a text of a hundred megabytes.

step: gate
expect: crashed, refused
policy: cannot see, raising is honest
"""


class Enough(BaseException):
    def __str__(self):
        return "x" * 100_000_000


raise Enough
