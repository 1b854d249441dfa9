"""Build a larger model than the budget allows for every task but the first.

step: trial
expect: error
policy: refuses
stage: with a probe
"""

from models.sandbox import tasks

build = tasks.build


def larger(mixer_class, size, ffn_width, seed):
    larger.calls += 1
    return build(mixer_class, size, ffn_width if larger.calls == 1 else 8 * ffn_width, seed)


larger.calls = 0
tasks.build = larger
