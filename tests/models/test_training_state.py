"""A training that was cut off and goes on is the training that was not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest
import torch

from models import probes
from models.backbone import build
from models.data import Batch, DataSpec, load_corpus, text_batches
from models.data.tokens import PackedTokens
from models.loading import load_mixer
from models.scale import ModelSize, Recipe
from models.training import Diverged, TrainingPoint, train
from models.training_state import CurveState, Saving, TrainingState

from .conftest import swapped

# Draws from every generator that there is, and has a parameter that no gradient reaches.
NOISY = swapped(
    "        return self.out(torch.sigmoid(self.query(x))",
    "        import random\n        import numpy as np\n"
    "        x = F.dropout(x, 0.1, self.training) * (1 + 0.01 * random.gauss(0, 1) + 0.01 * np.random.randn())\n"
    "        return self.out(torch.sigmoid(self.query(x))",
).replace("self.gain = ", "self.unused = nn.Parameter(torch.zeros(3))\n        self.gain = ")
STEPS = 20


def text(start: int = 0) -> Iterator[Batch]:
    return text_batches(load_corpus(DataSpec(max_bytes=300_000)).train, 4, 24, 0, start)


def run(
    size: ModelSize,
    *,
    save: Saving | None = None,
    resume: TrainingState | None = None,
    steps: int = STEPS,
    recipe: Recipe | None = None,
) -> tuple[list[TrainingPoint], dict[str, torch.Tensor]]:
    """A whole training in a process whose generators stand anywhere, unless it goes on."""
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    if resume is not None:
        torch.rand(3), random.random(), np.random.rand()
    model = build(load_mixer(NOISY), size, 160, seed=0 if resume is None else 1)
    points: list[TrainingPoint] = []
    train(
        model,
        text(resume.step if resume is not None else 0),
        steps=steps,
        learning_rate=4e-3,
        warmup_steps=4,
        report_every=5,
        report=points.append,
        recipe=recipe or Recipe(),
        save=save,
        resume=resume,
        clock=count().__next__,
    )
    return points, {name: value.clone() for name, value in model.state_dict().items()}


def told(point: TrainingPoint) -> tuple[float, ...]:
    return point.step, point.loss, point.grad_norm, point.learning_rate, point.tokens


def handed_over(state: TrainingState) -> TrainingState:
    return TrainingState.from_json(json.loads(json.dumps(state.as_json(), allow_nan=False)), state.arrays)


@pytest.fixture
def states(size: ModelSize) -> list[TrainingState]:
    """One after every step but the last."""
    states: list[TrainingState] = []
    run(size, save=Saving(1.0, states.append, count().__next__))
    assert [state.step for state in states] == list(range(1, STEPS))
    return states


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_goes_on_equals_one_that_was_never_cut_off(size: ModelSize, precision: str) -> None:
    recipe, states = Recipe(precision=precision), []
    points, weights = run(size, recipe=recipe)
    saved_points, saved_weights = run(size, recipe=recipe, save=Saving(1.0, states.append, count().__next__))
    assert [*map(told, saved_points)] == [*map(told, points)], "saving changes nothing"
    for name, value in weights.items():
        assert torch.equal(saved_weights[name], value), name
    for step in (3, 10, 19):
        more, final = run(size, recipe=recipe, resume=handed_over(states[step - 1]))
        assert [*map(told, more)] == [told(point) for point in points if point.step > step], step
        for name, value in weights.items():
            assert torch.equal(final[name], value), (step, name)


def test_time_goes_on_from_where_it_was(states: list[TrainingState], size: ModelSize) -> None:
    elapsed_s = states[9].curve.elapsed_s
    points, _ = run(size, resume=states[9])
    assert elapsed_s < points[0].elapsed_s < points[1].elapsed_s
    assert elapsed_s > 0


def test_pieces_as_small_as_memory_asked_for_stay_small(states: list[TrainingState], size: ModelSize) -> None:
    after: list[TrainingState] = []
    shrunk = replace(states[9], curve=replace(states[9].curve, micro_batch=2))
    run(size, resume=shrunk, save=Saving(1.0, after.append, count().__next__))
    assert {state.curve.micro_batch for state in after} == {2}


def test_the_lowest_point_before_the_cut_still_counts(states: list[TrainingState], size: ModelSize) -> None:
    lowest = replace(states[9].curve, lowest_loss=0.1)
    with pytest.raises(Diverged, match="at step 15"):
        run(size, resume=replace(states[9], curve=lowest))


def test_a_state_without_steps_left_is_an_error(states: list[TrainingState], size: ModelSize) -> None:
    with pytest.raises(ValueError, match="steps is 10 and 10 are done"):
        run(size, resume=states[9], steps=10)


def test_a_state_of_another_model_is_an_error(states: list[TrainingState]) -> None:
    other = ModelSize(num_layers=1, hidden_size=32, num_heads=2, ffn_width=160, vocab_size=256)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*blocks\.1"):
        run(other, resume=states[9])


def test_what_is_no_state_is_an_error() -> None:
    with pytest.raises(TypeError, match="this one has step"):
        TrainingState.from_json({"step": 1}, {})


def test_states_are_copies(states: list[TrainingState]) -> None:
    name = "model/head.weight"
    assert not np.array_equal(states[3].arrays[name], states[4].arrays[name])


def test_cadence_is_by_time_and_runs_over_trainings() -> None:
    now, taken = [0.0], []
    saving = Saving(10.0, taken.append, lambda: now[0])
    state = TrainingState(curve=CurveState(), chance={}, arrays={})
    for now[0] in range(0, 50, 4):
        if saving.due:
            saving.save(replace(state, curve=CurveState(step=int(now[0]))))
    assert [state.step for state in taken] == [12, 24, 36, 48]


@pytest.mark.parametrize("kind", ["array", "packed", "probe"])
def test_batches_begin_anywhere(kind: str) -> None:
    def batches(start: int) -> Iterator[Batch]:
        if kind == "probe":
            return probes.batches(probes.load_probes("cpu")[0], 3, start)
        tokens = np.arange(5_000, dtype=np.uint16)
        return text_batches(PackedTokens([tokens]) if kind == "packed" else tokens, 4, 24, 3, start)

    for late, due in zip(islice(batches(7), 3), islice(batches(0), 7, 10), strict=True):
        assert np.array_equal(late.inputs, due.inputs)
        assert np.array_equal(late.targets, due.targets)
