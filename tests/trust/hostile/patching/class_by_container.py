"""Patch torch by way of a container, where no reader of the text can follow.

step: trial
expect: worthless, error, no_progress
policy: cannot see, the class travels through a dict
"""

from torch import nn

kept = {"class": nn.Linear}


def plain(self, x):
    return x @ self.weight.mT * 0


cls = kept["class"]
cls.forward = plain
