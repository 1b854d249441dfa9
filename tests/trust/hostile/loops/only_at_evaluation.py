"""Loop for ever when it is evaluated.

step: trial
expect: timeout
policy: cannot see, time is not in the text
deadline_s: 1.5
"""


def at_forward(mixer, x):
    while not mixer.training:
        x.sin()
