"""Replace the matching of parameters, to be built larger than the budget.

step: trial
expect: error
policy: refuses
"""

from models.sandbox import tasks

tasks.fit_ffn_width = lambda *arguments: 640
