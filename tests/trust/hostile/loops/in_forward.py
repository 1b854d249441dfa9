"""Loop for ever in the middle of a training.

step: trial
expect: timeout, silent
policy: cannot see, time is not in the text
deadline_s: 1.2
"""


def at_forward(mixer, x):
    while True:
        x.sin()
