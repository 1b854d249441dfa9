"""Pairs through a whole trial, and what their score does to the benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cognition.records import Metric, Trial
from models.data import DataSpec
from models.minimal_pairs import PairSpec
from models.sandbox.parent import ForkServer
from models.scale import load_scale, scale_from_mapping
from models.trial import TrialRun
from models.trial_job import TrialJob
from tests.models.conftest import TOY
from tests.models.test_scale import mapping


def _trial(server: ForkServer, data: DataSpec, pairs: PairSpec | None) -> Trial:
    stage = replace(load_scale("tiny").stage("explore"), minimal_pairs=pairs, deadline_s=600.0)
    job = TrialJob(trial_id="t", candidate_id="c", source=TOY, slot="token_mixer", stage=stage, seed=0, data=data)
    run = TrialRun(job, server)
    while isinstance(found := run.advance(), Metric):
        pass
    assert found.succeeded, found.detail
    return found


def test_the_score_stands_beside_the_probes_and_enters_the_benchmark_only_where_told(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("the teacher is old. the teachers are old. " * 40)
    data = DataSpec(source=str(tmp_path))
    with ForkServer() as server:
        without = _trial(server, data, None)
        beside = _trial(server, data, PairSpec(num=24))
        within = _trial(server, data, PairSpec(num=24, in_benchmark=True))
    names = [score.name for score in without.scores]
    assert [score.name for score in beside.scores] == [*names[:-1], "minimal_pairs_accuracy", names[-1]]
    assert (beside.loss, beside.benchmark) == (without.loss, without.benchmark)
    scores = {score.name: score for score in within.scores}
    pairs, probe = scores["minimal_pairs_accuracy"], scores["mqar_accuracy"]
    assert (pairs.chance, pairs.num_items) == (0.5, 24)
    assert pairs.stderr is not None
    assert within.benchmark == pytest.approx((pairs.value + probe.value) / 2)


@pytest.mark.parametrize("name", ["gpu_16gb", "h200", "explore_20m", "verify_340m", "short_20m", "ladder"])
def test_gpu_scales_have_pairs_that_no_fitness_counts_and_the_laptops_have_none(name: str) -> None:
    assert all(s.minimal_pairs is not None and not s.minimal_pairs.in_benchmark for s in load_scale(name).stages)
    assert all(stage.minimal_pairs is None for stage in load_scale("cpu").stages)


def test_a_scale_says_what_is_wrong_with_its_pairs() -> None:
    values = mapping()
    values["stages"]["explore"]["minimal_pairs"] = {"number": 10}
    with pytest.raises(ValueError, match=r"scale.stages.explore.minimal_pairs has unknown number"):
        scale_from_mapping(values)
    values["stages"]["explore"]["minimal_pairs"] = {"num": 10}
    found = scale_from_mapping(values).stage("explore").minimal_pairs
    assert found == PairSpec(num=10)
