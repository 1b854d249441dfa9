"""Replace the draw of probe items and of audited positions, which the parent makes.

step: trial
expect: honest, error
policy: refuses
"""

from models import probes
from models.sandbox import sealed

sealed.commitment = lambda *arguments: 0
probes.eval_set = lambda *arguments: None
