"""Executed prefix consistency: a prefix gives alone what it gives inside a longer sequence.

It catches what `causality` cannot: outputs that depend on T itself, whatever the later inputs hold.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models.properties.precision import BFLOAT16, FLOAT32, Precision, reshaped_difference, rms
from models.properties.running import EVALUATION, TRAINING, Mode, run, type_of
from models.properties.subject import Finding, Margin, Refused, Subject

WHOLE = 257
PREFIXES = (1, 2, 3, 7, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 193)
LONG_WHOLE = 700
LONG_PREFIXES = (257, 511, 512, 513, 640)
_LONGER_WHOLE = 3001  # where `thorough`
_LONGER_PREFIXES = (64, 521, 777, 1023, 1024, 1025, 2047, 2048, 2049)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    mixer: nn.Module
    precision: Precision
    whole: int
    prefixes: Sequence[int]
    mode: Mode = EVALUATION


def prefix_consistency(subject: Subject) -> Finding:
    """Many prefixes of one sequence, long ones included; in training mode where nothing is drawn at random."""
    margin = Margin()
    for cut in _cuts(subject):
        x_BTD = subject.inputs(1, cut.whole, seed=1).to(type_of(cut.mixer))
        whole_BTD = run(cut.mixer, x_BTD, cut.mode)
        if cut.mode.training and not torch.equal(whole_BTD, run(cut.mixer, x_BTD, cut.mode, seed=1)):
            continue  # drawn at random, as with dropout: other lengths draw otherwise
        scale = rms(whole_BTD)
        for prefix in cut.prefixes:
            alone_BTD = run(cut.mixer, x_BTD[:, :prefix], cut.mode)
            figure = reshaped_difference(whole_BTD[:, :prefix], alone_BTD, scale, cut.precision)
            margin.add(figure, cut.precision.reshaped)
            if figure > cut.precision.reshaped:
                raise Refused(
                    f"the first {prefix} positions alone and inside {cut.whole} differ by {figure:.2g} of the outputs' "
                    f"rms, limit {cut.precision.reshaped:.2g} ({cut.precision.name}, {cut.mode}): let nothing depend "
                    "on the sequence's length",
                    figure,
                    cut.precision.reshaped,
                )
    return Finding(figure=margin.figure, limit=margin.limit)


def _cuts(subject: Subject) -> Iterator[_Cut]:
    finest = subject.finest()
    mixer, precision = finest.mixer, finest.precision
    yield _Cut(mixer=mixer, precision=precision, whole=WHOLE, prefixes=PREFIXES)
    yield _Cut(mixer=mixer, precision=precision, whole=LONG_WHOLE, prefixes=LONG_PREFIXES)
    yield _Cut(mixer=mixer, precision=precision, whole=130, prefixes=(31, 64, 129), mode=TRAINING)
    last = subject.mixer(subject.size.num_layers - 1, perturbed=True)
    if finest.dtype != torch.float32:
        yield _Cut(mixer=last, precision=FLOAT32, whole=130, prefixes=(1, 63, 100, 128), mode=TRAINING)
    if (narrow := subject.bfloat16()) is not None:
        yield _Cut(mixer=narrow, precision=BFLOAT16, whole=130, prefixes=(1, 64, 129))
    if subject.thorough:
        for mode in (EVALUATION, TRAINING):
            yield _Cut(mixer=mixer, precision=precision, whole=_LONGER_WHOLE, prefixes=_LONGER_PREFIXES, mode=mode)
