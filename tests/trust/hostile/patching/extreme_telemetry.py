"""Report losses at the edge of what a number can be, of both signs.

step: trial
expect: sealed, diverged, too_good, no_progress, leak, error
policy: refuses
"""

from models import training

point = training.TrainingPoint


def extreme(**values):
    extreme.sign = -extreme.sign
    return point(**{**values, "loss": extreme.sign * 1.7e308, "grad_norm": -1e308, "learning_rate": 5e-324})


extreme.sign = 1
training.TrainingPoint = extreme
