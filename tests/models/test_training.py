from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, repeat

import numpy as np
import pytest
import torch

from models.backbone import build
from models.data import Batch, DataSpec, load_corpus, text_batches
from models.loading import load_mixer
from models.micro_batches import MicroBatches, OutOfMemory
from models.scale import ModelSize, Recipe
from models.training import Diverged, NonFinite, TrainingPoint, train

from .conftest import TOY, swapped


def text(seed: int = 0) -> Iterator[Batch]:
    return text_batches(load_corpus(DataSpec(max_bytes=300_000)).train, 8, 48, seed)


def run(model: torch.nn.Module, batches: Iterator[Batch], **changes: object) -> list[TrainingPoint]:
    points: list[TrainingPoint] = []
    settings = {"steps": 40, "learning_rate": 4e-3, "warmup_steps": 4, "report_every": 10, "report": points.append}
    last = train(model, batches, **{**settings, **changes})  # type: ignore[arg-type]
    assert points[-1] == last
    return points


def test_loss_falls_and_the_curve_is_complete(size: ModelSize):
    points = run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=45)
    assert [point.step for point in points] == [10, 20, 30, 40, 45]
    assert points[-1].tokens == 45 * 8 * 48
    assert points[-1].loss < points[0].loss - 1
    assert points[0].loss < 6.5
    assert points[-1].learning_rate == pytest.approx(4e-4)
    assert all(earlier.elapsed_s < later.elapsed_s for earlier, later in pairwise(points))


def test_one_seed_gives_one_curve(size: ModelSize):
    first, again = (run(build(load_mixer(TOY), size, 160, seed=1), text(1), steps=12)[-1] for _ in range(2))
    assert first.loss == again.loss


def test_ignored_targets_carry_no_loss(size: ModelSize):
    inputs = np.ones((2, 8), dtype=np.int64)
    targets = np.full((2, 8), -100, dtype=np.int64)
    targets[:, -1] = 7
    model = build(load_mixer(TOY), size, 160, seed=0)
    expected = torch.nn.functional.cross_entropy(model(torch.from_numpy(inputs))[:, -1], torch.tensor([7, 7])).item()
    point = run(model, repeat(Batch(inputs, targets)), steps=2, warmup_steps=0, report_every=1)[0]
    assert point.loss == pytest.approx(expected, rel=1e-5)


def test_nan_in_the_loss_ends_training(size: ModelSize):
    source = swapped("        return self.out(", "        x = x / (self.gain.norm() < 1e-3)\n        return self.out(")
    source = source.replace("torch.sigmoid(self.query(x))", "torch.sigmoid(self.query(x)) * x")
    with pytest.raises(NonFinite, match=r"at step 10"):
        run(build(load_mixer(source), size, 160, seed=0), text())


def test_nan_in_unused_weights_is_found_at_the_end(size: ModelSize):
    source = swapped("super().__init__()", "super().__init__(); self.register_buffer('b', torch.tensor(float('nan')))")
    with pytest.raises(NonFinite, match=r"blocks.0.mixer.b"):
        run(build(load_mixer(source), size, 160, seed=0), text(), steps=2)


def test_a_climbing_loss_is_called_diverged(size: ModelSize):
    with pytest.raises(Diverged, match="nats above its lowest"):
        run(build(load_mixer(TOY), size, 160, seed=0), text(), learning_rate=30.0, steps=100, warmup_steps=50)


def test_no_steps_is_an_error(size: ModelSize):
    with pytest.raises(ValueError, match="steps is 0"):
        run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=0)


def test_wsd_stays_at_the_peak_until_the_last_fifth(size: ModelSize):
    points = run(
        build(load_mixer(TOY), size, 160, seed=0),
        text(),
        steps=20,
        warmup_steps=2,
        report_every=1,
        learning_rate=1e-3,
        recipe=Recipe(schedule="wsd"),
    )
    rates = [point.learning_rate for point in points]
    assert rates[0] == pytest.approx(5e-4)
    assert rates[1:16] == pytest.approx([1e-3] * 15)
    assert rates[16:] == pytest.approx([7.75e-4, 5.5e-4, 3.25e-4, 1e-4])


def _full_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


class _FullOnce(torch.optim.AdamW):
    """Memory ends in one step: before it, with some moments made, or between its two groups of parameters."""

    at, where = 1, "before"
    taken = 0

    def step(self, closure=None):
        type(self).taken += 1
        if self.taken != self.at:
            return super().step(closure)
        if self.where == "within":
            groups, self.param_groups = self.param_groups, self.param_groups[:1]
            super().step(closure)
            self.param_groups = groups
        if self.where == "state":
            self.state[self.param_groups[0]["params"][0]]["step"] = torch.zeros(())
        raise _full_memory()


@pytest.mark.parametrize(("at", "where"), [(1, "before"), (1, "state"), (5, "before")])
def test_a_full_memory_before_the_update_begins_the_batch_again(size, monkeypatch, at: int, where: str):
    plain = run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=8, report_every=1)
    sizes = []
    shrink = MicroBatches.shrink
    monkeypatch.setattr(_FullOnce, "taken", 0)
    monkeypatch.setattr(_FullOnce, "at", at)
    monkeypatch.setattr(_FullOnce, "where", where)
    monkeypatch.setattr(torch.optim, "AdamW", _FullOnce)
    monkeypatch.setattr(MicroBatches, "shrink", lambda self, *args: (shrink(self, *args), sizes.append(self.size)))
    found = run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=8, report_every=1)
    assert sizes == [4]
    assert [point.loss for point in found] == pytest.approx([point.loss for point in plain], rel=1e-4)


def test_a_full_memory_in_clipping_begins_the_batch_again(size, monkeypatch):
    plain = run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=6, report_every=1)
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def full_at_third(parameters, most):
        calls.append(most)
        norm = clip(parameters, most / 10 if len(calls) == 3 else most)
        if len(calls) == 3:  # gradients are scaled already
            raise _full_memory()
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", full_at_third)
    found = run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=6, report_every=1)
    assert len(calls) == 7
    assert [point.loss for point in found] == pytest.approx([point.loss for point in plain], rel=1e-4)


@pytest.mark.parametrize("at", [1, 4])
def test_an_update_cut_off_half_way_is_out_of_memory_and_not_repeated(size, monkeypatch, at: int):
    monkeypatch.setattr(_FullOnce, "taken", 0)
    monkeypatch.setattr(_FullOnce, "at", at)
    monkeypatch.setattr(_FullOnce, "where", "within")
    monkeypatch.setattr(torch.optim, "AdamW", _FullOnce)
    with pytest.raises(OutOfMemory, match=r"half done now: CUDA out of memory\. Tried"):
        run(build(load_mixer(TOY), size, 160, seed=0), text(), steps=8)
    assert _FullOnce.taken == at
