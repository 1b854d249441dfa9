"""Offer an entry that is no module class but claims to be one.

step: trial
expect: honest, error
policy: refuses
"""


class Disguise(type):
    @property
    def __class__(cls):
        raise SystemExit("asked")

    def __subclasscheck__(cls, other):
        return True


class TokenMixer(metaclass=Disguise):
    pass


DISGUISED = TokenMixer
