"""Executed batch independence: what a sequence gives may not depend on its neighbours, nor on what pads it.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.properties.precision import (
    BFLOAT16,
    FLOAT32,
    Precision,
    largest,
    reshaped_difference,
    rms,
)
from models.properties.running import EVALUATION, TRAINING, Mode, run
from models.properties.subject import Finding, Margin, Refused, Subject

_SHAPES = ((4, 33), (16, 12), (5, 98), (2, 66))
_FEW_SHAPES = ((4, 33), (9, 40))
_LONG_SHAPES = ((3, 257), (32, 128), (2, 1025))  # where `thorough`
_NEIGHBOURS = (0.0, 100.0)  # what they become, by turns: nothing, and large
_PADDING = (0.0, 3.0)  # in the same sequence large values would show as the round-off of an FFT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    mixer: nn.Module
    dtype: torch.dtype
    precision: Precision
    mode: Mode
    shapes: Sequence[tuple[int, int]]

    def run(self, x_BTD: Tensor, seed: int = 0) -> Tensor:
        return run(self.mixer, x_BTD, self.mode, seed=seed)

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}, {self.mode}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """A batch, what came out, and the margin that comparisons add to."""

    setting: _Setting
    x: Tensor  # B T D
    out: Tensor
    margin: Margin

    def compare(self, one: Tensor, other: Tensor, what: str) -> None:
        """Of results that may differ by the order of sums."""
        precision = self.setting.precision
        self._judge(reshaped_difference(one, other, rms(one), precision), precision.reshaped, what)

    def compare_exactly(self, one: Tensor, other: Tensor, what: str) -> None:
        """Of results that are computed alike."""
        self._judge(largest(one, other, rms(one)), self.setting.precision.same, what)

    def _judge(self, figure: float, limit: float, what: str) -> None:
        self.margin.add(figure, limit)
        if figure > limit:
            where = f"batch of {len(self.x)}, length {self.x.shape[1]}, {self.setting}"
            raise Refused(f"{what}: {figure:.2g} of the outputs' rms, limit {limit:.2g} ({where})", figure, limit)


def batch_independence(subject: Subject) -> Finding:
    """Other rows replaced or exchanged, a row alone, rows padded to a common length, with a padding mask if it fits."""
    margin, notes = Margin(), set()
    for setting in _settings(subject):
        for num_rows, length in setting.shapes:
            x_BTD = subject.inputs(num_rows, length).to(setting.dtype)
            batch = _Batch(setting=setting, x=x_BTD, out=setting.run(x_BTD), margin=margin)
            _others_replaced(batch)
            if setting.mode.training and not torch.equal(batch.out, setting.run(x_BTD, seed=1)):
                continue  # drawn at random, as with dropout: other arrangements draw otherwise
            _rearranged(batch)
            if "causality" not in subject.refused:
                _padded(batch)
            if (num_rows, length) == setting.shapes[0]:
                notes.add(_masked(batch))
    return Finding(figure=margin.figure, limit=margin.limit, detail=", ".join(sorted(notes - {""})))


def _settings(subject: Subject) -> Iterator[_Setting]:
    finest, more = subject.finest(), _LONG_SHAPES if subject.thorough else ()
    for mode, shapes in ((EVALUATION, _SHAPES), (TRAINING, _FEW_SHAPES)):
        yield _Setting(
            mixer=finest.mixer, dtype=finest.dtype, precision=finest.precision, mode=mode, shapes=(*shapes, *more)
        )
    last = subject.mixer(subject.size.num_layers - 1, perturbed=True)
    yield _Setting(mixer=last, dtype=torch.float32, precision=FLOAT32, mode=TRAINING, shapes=(*_FEW_SHAPES[:1], *more))
    if (narrow := subject.bfloat16()) is not None:
        yield _Setting(
            mixer=narrow, dtype=torch.bfloat16, precision=BFLOAT16, mode=EVALUATION, shapes=(*_FEW_SHAPES[:1], *more)
        )


def _others_replaced(batch: _Batch) -> None:
    num_rows = len(batch.x)
    for kept in (0, num_rows - 1):
        changed_BTD = batch.x.flip(1)
        for row in range(num_rows):
            changed_BTD[row] *= _NEIGHBOURS[(row + kept) % 2]
        changed_BTD[kept] = batch.x[kept]
        out_BTD = batch.setting.run(changed_BTD)
        what = "other sequences of the batch change this one's outputs; take no statistics over the batch"
        batch.compare_exactly(batch.out[kept], out_BTD[kept], what)


def _rearranged(batch: _Batch) -> None:
    flipped_BTD = batch.setting.run(batch.x.flip(0)).flip(0)
    batch.compare(batch.out, flipped_BTD, "the order of the sequences in a batch shows")
    for row in (0, len(batch.x) - 1):
        alone_BTD = batch.setting.run(batch.x[row : row + 1])
        batch.compare(batch.out[row : row + 1], alone_BTD, "a sequence alone and in a batch differ")


def _padded(batch: _Batch) -> None:
    """Sequences of three lengths in one batch; what stands behind them, zeros or other values, may not show.

    One shape throughout: whether the length itself shows is the question of `prefix_consistency`.
    """
    length = batch.x.shape[1]
    valid = [length - (0, 7, length // 2)[row % 3] for row in range(len(batch.x))]
    for size in _PADDING:
        padded_BTD = batch.x.clone()
        for row, end in enumerate(valid):
            padded_BTD[row, end:] *= size
        out_BTD = batch.setting.run(padded_BTD)
        for row, end in enumerate(valid):
            what = f"padding with {'other values' if size else 'zeros'} behind a sequence changes it"
            batch.compare(batch.out[row, :end], out_BTD[row, :end], what)


def _masked(batch: _Batch) -> str:
    """The same, told to the mixer by attention_mask [B, T]; also at the left, where the padding's content may not show.

    Answers with a note for the report.
    """
    setting = batch.setting
    forward = masked_forward(setting.mixer)
    if forward is None:
        return ""
    length, start = batch.x.shape[1], 7
    for left in (False, True):
        mask_BT = torch.ones(batch.x.shape[:2], dtype=torch.long)
        padding = slice(0, start) if left else slice(length - start, length)
        mask_BT[1:, padding] = 0
        results, used = [], False
        for size in _PADDING:
            padded_BTD = batch.x.clone()
            padded_BTD[1:, padding] *= size
            try:
                results.append(run(_Masked(setting.mixer, forward, mask_BT), padded_BTD, setting.mode))
            except Exception as error:  # noqa: BLE001 - the mask is an extra that the host never uses
                return f"attention_mask does not run: {type(error).__name__}"
            used = used or not torch.equal(results[-1], setting.run(padded_BTD))
        if left and not used:  # the host never gives one; who ignores it hides nothing and claims nothing
            return "attention_mask is not used"
        rest = slice(start, length) if left else slice(0, length - start)
        side = "left" if left else "right"
        batch.compare(results[0][:, rest], results[1][:, rest], f"what attention_mask hides at the {side} shows")
        if not left:
            batch.compare(results[0][1:, rest], batch.out[1:, rest], "attention_mask changes what it does not hide")
    return "attention_mask honoured"


class _Masked(nn.Module):
    """A mixer that is given its padding mask."""

    def __init__(self, mixer: nn.Module, forward: Callable[..., object], mask_BT: Tensor) -> None:
        super().__init__()
        self.mixer, self.masked, self.mask_BT = mixer, forward, mask_BT

    def forward(self, x_BTD: Tensor) -> Tensor:
        result = self.masked(self.mixer, x_BTD, attention_mask=self.mask_BT)
        first = result[0] if isinstance(result, tuple) else result
        assert isinstance(first, Tensor)
        return first


def masked_forward(mixer: nn.Module) -> Callable[..., object] | None:
    """The forward of the mixer's class, or of the class that an adapter wraps, that takes `attention_mask`."""
    for kind in type(mixer).__mro__:
        forward = kind.__dict__.get("forward")
        if forward is None or kind is nn.Module:
            continue
        try:
            names = inspect.signature(forward).parameters
        except (TypeError, ValueError):
            continue
        if "attention_mask" in names:
            return forward  # type: ignore[no-any-return]
    return None
