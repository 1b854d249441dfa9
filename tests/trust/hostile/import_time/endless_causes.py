"""Raise an error that has a cause that has a cause, without end.

step: gate
expect: timeout, crashed, refused
policy: refuses
deadline_s: 1.2
"""


class Enough(Exception):
    @property
    def __cause__(self):
        return Enough()

    def __eq__(self, other):
        return False


raise Enough
