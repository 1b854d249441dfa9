from __future__ import annotations

import math

import numpy as np
import pytest

from models import canary
from models.scale import CanarySpec

SPEC = CanarySpec(alphabet=8, length=32, steps=40, batch_size=16, learning_rate=1e-2, eval_windows=64)


def test_tokens_are_uniform_independent_and_never_drawn_twice() -> None:
    stream = canary.batches(SPEC, seed=3)
    first, second = next(stream), next(stream)
    assert first.inputs.shape == first.targets.shape == (16, 32)
    assert np.array_equal(first.inputs[:, 1:], first.targets[:, :-1])
    assert not np.array_equal(first.inputs, second.inputs)
    assert not np.array_equal(canary.eval_set(SPEC, seed=3).inputs[:16], first.inputs)
    many = canary.eval_set(
        CanarySpec(alphabet=8, length=512, steps=1, batch_size=1, learning_rate=1.0, eval_windows=200), seed=0
    )
    counts = np.bincount(many.inputs.ravel() * 8 + many.targets.ravel(), minlength=64)
    assert counts.min() > 0.9 * counts.mean()
    assert counts.max() < 1.1 * counts.mean()


def test_only_losses_below_chance_by_more_than_sampling_error_are_caught() -> None:
    bound = math.log(8)
    assert canary.caught(SPEC, bound + 0.01, 0.001) is None
    assert canary.caught(SPEC, bound - 0.003, 0.0001) is None
    assert canary.caught(SPEC, bound - 0.03, 0.01) is None
    assert "ln 8 = 2.0794" in str(canary.caught(SPEC, bound - 0.03, 0.001))


@pytest.mark.parametrize(("field", "value"), [("alphabet", 1), ("steps", 0), ("eval_windows", 1)])
def test_impossible_canaries_are_refused(field: str, value: int) -> None:
    values = {"alphabet": 8, "length": 32, "steps": 40, "batch_size": 16, "learning_rate": 1e-2, "eval_windows": 64}
    with pytest.raises(ValueError, match=field):
        CanarySpec(**{**values, field: value})  # type: ignore[arg-type]
