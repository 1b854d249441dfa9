"""What one trial takes from the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.trial import TrialJob


def resources_of(cpus_per_trial: float) -> Callable[[TrialJob], Mapping[str, float]]:
    """Ray resources of a trial, as a function of its job. Today every stage takes the same share of a CPU node."""

    def resources(job: TrialJob) -> Mapping[str, float]:
        del job  # stages will name their pool
        return {"CPU": cpus_per_trial}

    return resources
