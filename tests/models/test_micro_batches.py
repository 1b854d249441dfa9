"""Pieces of a batch: equal gradients whatever their size, smaller where memory ends, eager where nothing compiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from models.backbone import LanguageModel, build
from models.batch import IGNORED, Batch
from models.data_parallel import Ranks
from models.feeding import feed
from models.loading import load_mixer
from models.micro_batches import MicroBatches, OutOfMemory
from models.scale import ModelSize, Recipe
from models.slots import SLOTS, published_source

from .conftest import TOY

NUM, LENGTH = 8, 12


def _model(size: ModelSize) -> LanguageModel:
    return build(load_mixer(TOY), size, 160, seed=0)


def _batch() -> tuple[torch.Tensor, torch.Tensor, int]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 256, (NUM, LENGTH + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[0] = IGNORED
    targets[3, ::2] = IGNORED
    return tokens[:, :-1], targets, int((targets != IGNORED).sum())


def _gradients(model: LanguageModel, pieces: MicroBatches) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = pieces.backward(*_batch())
    return float(loss), [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def _limited(model: LanguageModel, most: int) -> None:
    """Sequences beyond `most` at once end as they do on a full GPU."""
    whole = model.hidden

    def hidden(tokens_BT: torch.Tensor) -> torch.Tensor:
        if tokens_BT.shape[0] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return whole(tokens_BT)

    model.hidden = hidden  # type: ignore[method-assign]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 8, 100])
def test_pieces_of_any_size_add_up_to_the_batch(size: ModelSize, micro_batch: int) -> None:
    model = _model(size)
    loss, gradients = _gradients(model, MicroBatches(model, Recipe()))
    split_loss, split_gradients = _gradients(model, MicroBatches(model, Recipe(micro_batch=micro_batch)))
    assert split_loss == pytest.approx(loss, rel=1e-5)
    for whole, split in zip(gradients, split_gradients, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_ranks", [1, 2, 8])
@pytest.mark.parametrize("micro_batch", [None, 1])
def test_the_shares_of_all_ranks_add_up_to_the_batch(size: ModelSize, num_ranks: int, micro_batch: int | None) -> None:
    """Also where nothing counts in one rank's rows."""
    model = _model(size)
    loss, gradients = _gradients(model, MicroBatches(model, Recipe()))
    model.zero_grad()
    whole = Batch(*(part.numpy() for part in _batch()[:2]))
    summed = torch.zeros(())
    for rank in range(num_ranks):
        (fed,) = feed(iter([whole]), 1, torch.device("cpu"), Ranks(rank=rank, num=num_ranks))
        assert len(fed.inputs_BT) == len(fed.targets_BT) == NUM // num_ranks
        pieces = MicroBatches(model, Recipe(micro_batch=micro_batch))
        summed += pieces.backward(fed.inputs_BT, fed.targets_BT, fed.num_counted, fed.num_here)
    assert float(summed) == pytest.approx(loss, rel=1e-5)
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for one, other in zip(gradients, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SLOTS["token_mixer"].published)
def test_every_published_mixer_trains_alike_in_pieces(size: ModelSize, name: str) -> None:
    model = build(load_mixer(published_source("token_mixer", name)), size, 160, seed=0)
    _, gradients = _gradients(model, MicroBatches(model, Recipe()))
    _, split_gradients = _gradients(model, MicroBatches(model, Recipe(micro_batch=3)))
    for whole, split in zip(gradients, split_gradients, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-3, atol=1e-5)


def test_a_full_memory_halves_the_pieces_and_goes_on(size: ModelSize) -> None:
    model = _model(size)
    loss, gradients = _gradients(model, MicroBatches(model, Recipe()))
    _limited(model, 3)
    pieces = MicroBatches(model, Recipe())
    found_loss, found = _gradients(model, pieces)
    assert pieces.size == 2
    assert found_loss == pytest.approx(loss, rel=1e-5)
    for whole, split in zip(gradients, found, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-6)


def test_one_sequence_that_does_not_fit_is_an_error(size: ModelSize) -> None:
    model = _model(size)
    _limited(model, 0)
    with pytest.raises(OutOfMemory, match=r"one sequence at a time does not fit: CUDA out of memory\. Tried"):
        _gradients(model, MicroBatches(model, Recipe()))


def test_what_does_not_compile_runs_as_it_is_written(size: ModelSize) -> None:
    model = _model(size)
    loss, gradients = _gradients(model, MicroBatches(model, Recipe()))
    attempts = []

    def compiler(function):
        def compiled(tokens_BT):
            attempts.append(tokens_BT.shape)
            raise RuntimeError("graph break in candidate")

        return compiled

    pieces = MicroBatches(model, Recipe(compile=True), compiler=compiler)
    assert pieces.compiled
    for _ in range(2):
        found_loss, found = _gradients(model, pieces)
        assert found_loss == loss
        for whole, again in zip(gradients, found, strict=True):
            torch.testing.assert_close(again, whole, rtol=0, atol=0)
    assert not pieces.compiled
    assert len(attempts) == 1


def test_a_candidates_own_error_is_not_swallowed(size: ModelSize) -> None:
    model = _model(size)

    def hidden(tokens_BT):
        raise RuntimeError("shapes disagree")

    model.hidden = hidden  # type: ignore[method-assign]
    for recipe, options in ((Recipe(), {}), (Recipe(compile=True), {"compiler": lambda function: function})):
        with pytest.raises(RuntimeError, match="shapes disagree"):
            _gradients(model, MicroBatches(model, recipe, **options))


def test_bfloat16_computes_narrow_and_keeps_wide_gradients(size: ModelSize) -> None:
    model = _model(size)
    exact, _ = _gradients(model, MicroBatches(model, Recipe()))
    found, gradients = _gradients(model, MicroBatches(model, Recipe(precision="bfloat16")))
    assert found == pytest.approx(exact, rel=0.01)
    assert found != exact
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


def _batches(count: int):
    for n in range(count):
        yield Batch(np.full((2, 3), n, dtype=np.int64), np.array([[n, IGNORED, n]] * 2))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_arrive_in_order_with_what_counts(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    fed = list(feed(_batches(9), 5, torch.device(device)))
    assert [int(item.inputs_BT[0, 0]) for item in fed] == list(range(5))
    assert all(item.num_counted == 4 and item.inputs_BT.device.type == device for item in fed)
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(feed(_batches(2), 5, torch.device(device)))
    assert next(itertools.islice(feed(_batches(9), 9, torch.device(device)), 1, None)).num_counted == 4
