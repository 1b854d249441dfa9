"""Executed position independence: the output at t depends on the input at t alone.

Stronger than causality and batch independence together, and simpler to tell: whatever else is in the call, around a
position or in another sequence, its output stays. It also settles what decoding carries from step to step: nothing.

Shapes: B batch, T time, D model width, R rows (one for each choice of positions that stay).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.properties import running
from models.properties.causality import LENGTHS, LONG_LENGTHS
from models.properties.precision import BFLOAT16, FLOAT32, Precision, largest, reshaped_difference, rms
from models.properties.running import EVALUATION, TRAINING, Mode, run, type_of
from models.properties.subject import Finding, Margin, Refused, Subject

_NUM_DRAWN = 4  # more lengths, drawn for each candidate, so that the list above cannot be learnt
_FEW_LENGTHS = (2, 33, 65, 128, 521)
_OTHERS = (0.01, 100.0)  # size of what the other positions become
_INPUT_SCALES = (0.02, 8.0)
_SHAPES = ((1, 2), (3, 33), (2, 128), (5, 64))  # for other arrangements of the same positions
_FEW_SHAPES = ((3, 33), (2, 66))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """One mixer under one setting."""

    mixer: nn.Module
    what: str  # for the report
    lengths: Sequence[int]  # of sequences in which other positions are replaced
    precision: Precision = FLOAT32
    shapes: Sequence[tuple[int, int]] = ()  # [B, T] of batches that are arranged otherwise
    mode: Mode = EVALUATION
    input_scale: float = 1.0
    salt: int = 0

    def run(self, x_BTD: Tensor, seed: int = 0) -> Tensor:
        return run(self.mixer, x_BTD, self.mode, seed=seed)

    def inputs(self, num_rows: int, length: int, hidden_size: int, seed: int = 0) -> Tensor:
        x_BTD = running.inputs(num_rows, length, hidden_size, self.salt + seed)
        return (self.input_scale * x_BTD).to(type_of(self.mixer))

    def __str__(self) -> str:
        return f"{self.what}, {self.mode}"


def position_independence(subject: Subject) -> Finding:
    """Other positions replaced; the same ones shuffled, alone, in other batches. Leaves a state of no bytes."""
    margin, seen = Margin(), []
    for probe in _probes(subject):
        probe = replace(probe, salt=subject.salt)
        for length in probe.lengths:
            _others_replaced(probe, length, subject, margin)
        for num_rows, length in probe.shapes:
            _rearranged(probe, num_rows, length, subject, margin)
        seen.append(probe.what)
    subject.state_bytes = 0
    return Finding(figure=margin.figure, limit=margin.limit, detail=", ".join(dict.fromkeys(seen)))


def _probes(subject: Subject) -> Iterator[_Probe]:
    """Cheapest and sharpest first, as in `causality`."""
    drawn = random.Random(subject.salt).sample(range(2, 321), _NUM_DRAWN)
    lengths = tuple(sorted({1, *LENGTHS, *drawn, subject.length}))
    few: Sequence[int] = _FEW_LENGTHS
    if subject.thorough:
        lengths = few = (*lengths, *LONG_LENGTHS)

    finest, single = subject.finest(), subject.mixer(perturbed=True)
    last = subject.mixer(subject.size.num_layers - 1, perturbed=True)
    fine, precision = "float32" if finest.dtype == torch.float32 else "float64", finest.precision
    yield _Probe(mixer=finest.mixer, what=fine, precision=precision, lengths=lengths, shapes=_SHAPES)
    yield _Probe(mixer=last, what="float32", lengths=lengths, shapes=_FEW_SHAPES, mode=TRAINING)
    yield _Probe(
        mixer=finest.mixer, what=fine, precision=precision, lengths=(65, 128), shapes=_FEW_SHAPES, mode=TRAINING
    )
    for mode in (EVALUATION, Mode(grad=True), Mode(training=True)):
        yield _Probe(mixer=single, what="float32", lengths=few, mode=mode)
    autocast = Mode(training=True, grad=True, autocast=True)
    yield _Probe(mixer=single, what="autocast", precision=BFLOAT16, lengths=(33, 128), mode=autocast)
    for scale in _INPUT_SCALES:
        yield _Probe(mixer=single, what="float32", lengths=(65,), input_scale=scale)
    yield _Probe(mixer=subject.mixer(), what="initial weights", lengths=(65,), mode=TRAINING)
    if (narrow := subject.bfloat16()) is not None:
        yield _Probe(mixer=narrow, what="bfloat16", precision=BFLOAT16, lengths=few, shapes=_FEW_SHAPES)
        yield _Probe(mixer=narrow, what="bfloat16", precision=BFLOAT16, lengths=(64, 129), mode=TRAINING)
    for layer in range(24) if subject.thorough else subject.layers():
        mixer = subject.mixer(layer, perturbed=True)
        yield _Probe(mixer=mixer, what=f"layer {layer}", lengths=(67,), mode=TRAINING)
    stack, lengths = _stack(subject), (33, subject.length)
    yield _Probe(mixer=stack, what="all layers", lengths=lengths, mode=TRAINING)
    stack = _stack(subject).to(finest.dtype)
    yield _Probe(mixer=stack, what="all layers", precision=precision, lengths=lengths, shapes=_SHAPES)


class _Residual(nn.Module):
    def __init__(self, mixer: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mixer = mixer

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = x_BTD + self.mixer(self.norm(x_BTD))
        return out_BTD


def _stack(subject: Subject) -> nn.Module:
    """The candidates of all layers as in the host, without its token mixers: what one hands to another shows."""
    mixers = (subject.mixer(layer, perturbed=True) for layer in range(subject.size.num_layers))
    return nn.Sequential(*(_Residual(mixer, subject.size.hidden_size) for mixer in mixers))


def _others_replaced(probe: _Probe, length: int, subject: Subject, margin: Margin) -> None:
    """Some positions stay, the others become small or large; same shape and random state, so equal to the last bit."""
    stay = _that_stay(length, random.Random(subject.salt + length))
    rows = [(kept, scale) for kept in stay for scale in _OTHERS]
    x_RTD = probe.inputs(1, length, subject.size.hidden_size).repeat(len(rows), 1, 1)
    changed_RTD = probe.inputs(len(rows), length, subject.size.hidden_size, seed=1)
    for row, (kept, scale) in enumerate(rows):
        changed_RTD[row] *= scale
        changed_RTD[row, kept] = x_RTD[row, kept]
    before_RTD, after_RTD = probe.run(x_RTD), probe.run(changed_RTD)
    for row, (kept, _) in enumerate(rows):
        figure = largest(before_RTD[row, kept], after_RTD[row, kept], rms(before_RTD[row]))
        margin.add(figure, probe.precision.same)
        _require(
            probe,
            figure,
            probe.precision.same,
            f"at length {length} other inputs at {length - len(kept)} other positions, and in the other sequences of "
            f"the batch, change the outputs at {_named(kept)} by",
        )


def _that_stay(length: int, rng: random.Random) -> list[list[int]]:
    """The first, the last, one in between, every other one, and half of all as they are drawn."""
    half = sorted(rng.sample(range(length), (length + 1) // 2))
    return [[0], [length - 1], [rng.randrange(length)], [*range(0, length, 2)], half]


def _rearranged(probe: _Probe, num_rows: int, length: int, subject: Subject, margin: Margin) -> None:
    """The same inputs in another order, one by one, and split up into sequences otherwise."""
    x_BTD = probe.inputs(num_rows, length, subject.size.hidden_size)
    out_BTD = probe.run(x_BTD)
    if probe.mode.training and not torch.equal(out_BTD, probe.run(x_BTD, seed=1)):
        return  # drawn at random, as with dropout: other arrangements draw otherwise
    order_T = torch.randperm(length, generator=torch.Generator().manual_seed(subject.salt))
    arranged = {
        "in another order": probe.run(x_BTD[:, order_T])[:, order_T.argsort()],
        "one by one": probe.run(x_BTD.flatten(0, 1).unsqueeze(1)).view_as(out_BTD),
        "in one sequence": probe.run(x_BTD.flatten(0, 1).unsqueeze(0)).view_as(out_BTD),
        "with batch and time exchanged": probe.run(x_BTD.transpose(0, 1)).transpose(0, 1),
        "alone": torch.cat([probe.run(x_BTD[:1, t : t + 1]) for t in (0, length - 1)], 1),
    }
    for how, other in arranged.items():
        whole = out_BTD[:1, [0, length - 1]] if how == "alone" else out_BTD
        figure = reshaped_difference(whole, other, rms(out_BTD), probe.precision)
        what = f"the same positions {how} instead of as a batch of {num_rows}, length {length}, differ by"
        margin.add(figure, probe.precision.reshaped)
        _require(probe, figure, probe.precision.reshaped, what)


def _require(probe: _Probe, figure: float, limit: float, what: str) -> None:
    if figure > limit:
        raise Refused(
            f"{what} {figure:.2g} of the outputs' rms, limit {limit:.2g} ({probe}): compute each position from its own "
            "input alone",
            figure,
            limit,
        )


def _named(positions: Sequence[int]) -> str:
    return f"position {positions[0]}" if len(positions) == 1 else f"{len(positions)} positions"
