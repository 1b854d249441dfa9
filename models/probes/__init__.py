"""Synthetic tasks with a short training of their own: what a mixer can do that a loss on text does not show.

Generated on the fly with numpy, deterministic by seed, no torch. Every task states what guessing gives (its chance).
"""

from models.probes.spec import TASKS, ProbeSpec, batches, eval_set, load_probes, probe_from_mapping, probe_of

__all__ = ["TASKS", "ProbeSpec", "batches", "eval_set", "load_probes", "probe_from_mapping", "probe_of"]
