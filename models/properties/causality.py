"""Executed causality: change what comes later, and nothing earlier may move.

Shapes: B batch, T time, D model width, R rows (one for each cut and size of the change).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from models.properties.precision import (
    BFLOAT16,
    FLOAT32,
    Precision,
    arithmetic_of,
    largest,
    rms,
)
from models.properties.running import EVALUATION, TRAINING, Mode, inputs, run, type_of
from models.properties.subject import Finding, Finest, Margin, Refused, Subject

# Chunk edges of 16, 32 and 64, small primes, powers of two and their neighbours, one length beyond 512.
LENGTHS = (2, 3, 5, 7, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97, 127, 128, 129, 192, 255, 256, 257, 521)
LONG_LENGTHS = (777, 1023, 1024, 1025, 1500, 2047, 2048, 3001)  # where `thorough`
_NUM_DRAWN = 4  # more lengths, drawn for each candidate, so that the list above cannot be learnt
_SHORT = 130  # up to here every cut meets every size of suffix
_FEW_LENGTHS = (2, 33, 65, 128, 521)
SUFFIX_SCALES = (0.01, 100.0)
BATCH_SIZES = (1, 2, 3, 5, 16, 32)
_ALPHABET = 24  # different vectors among token-like inputs
_INPUT_SCALES = (0.02, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One mixer under one setting, at several lengths."""

    mixer: nn.Module
    what: str  # for the report
    precision: Precision
    lengths: Sequence[int]
    mode: Mode = EVALUATION
    num_rows: int | None = None  # sequences in a batch; None: one for each cut and size of suffix
    input_scale: float = 1.0
    salt: int = 0  # of the inputs
    tokens: bool = False  # inputs as an embedding gives them: few different vectors

    def __str__(self) -> str:
        rows = "" if self.num_rows is None else f", batch of {self.num_rows}"
        return f"{self.what}, {self.mode}{rows}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """The change of an earlier output that came nearest to its limit or passed it, and where it was seen."""

    figure: float  # of the outputs' rms
    limit: float
    cut: int  # what comes from here on was changed
    row: int
    pair: tuple[Tensor, Tensor] = field(repr=False)  # the two batches that showed it

    @property
    def length(self) -> int:
        return self.pair[0].shape[1]


def causality(subject: Subject) -> Finding:
    """Run every probe; the first that sees an influence of the future ends the check."""
    margin, seen = Margin(), []
    for probe in _probes(subject):
        probe = replace(probe, salt=subject.salt + probe.salt)
        for found in suffix_influence(probe, subject.size.hidden_size):
            margin.add(found.figure, found.limit)
            if found.figure > found.limit:
                raise Refused(_what_was_seen(probe, found), found.figure, found.limit)
        seen.append(probe.what)
    return Finding(figure=margin.figure, limit=margin.limit, detail=", ".join(dict.fromkeys(seen)))


def suffix_influence(probe: Probe, hidden_size: int) -> Iterator[Influence]:
    """What the outputs before a cut owe to the inputs after it: the worst of each batch.

    Both runs have the same shape and random state, so that dropout draws the same masks. All cuts and both sizes of
    suffix (0.01 and 100) of a length go through as one batch, half of them where that is costly, unless the probe
    states its size.
    """
    uses_fft = False
    for length in probe.lengths:
        for batch in _batches(probe, length, hidden_size):
            before_RTD, after_RTD = (run(probe.mixer, x_RTD, probe.mode) for x_RTD in (batch.base, batch.changed))
            figures = [
                largest(before_RTD[row, :cut], after_RTD[row, :cut], rms(before_RTD[row]))
                for row, cut in enumerate(batch.cuts)
            ]
            precision = probe.precision
            if max(figures) > precision.same and not uses_fft:
                uses_fft = arithmetic_of(probe.mixer, batch.changed, probe.mode).uses_fft
            limits = [_limit(precision, uses_fft, scale) for scale in batch.scales]
            row = max(range(len(figures)), key=lambda index: figures[index] / limits[index])
            yield Influence(
                figure=figures[row],
                limit=limits[row],
                cut=batch.cuts[row],
                row=row,
                pair=(batch.base, batch.changed),
            )


def _limit(precision: Precision, uses_fft: bool, scale: float) -> float:
    if not uses_fft:
        return precision.same if scale <= 1 else precision.same_gross
    return precision.fft if scale <= 1 else precision.fft_gross


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    base: Tensor  # R T D
    changed: Tensor
    cuts: tuple[int, ...]  # one for each row
    scales: tuple[float, ...]


def _probes(subject: Subject) -> Iterator[Probe]:
    """Cheapest and sharpest first: float64, then the types and modes of training, then what seldom matters."""
    drawn = random.Random(subject.salt).sample(range(2, 321), _NUM_DRAWN)
    lengths = tuple(sorted({*LENGTHS, *drawn, subject.length}))
    few: Sequence[int] = _FEW_LENGTHS
    if subject.thorough:
        lengths = few = (*lengths, *LONG_LENGTHS)
    finest = subject.finest()
    fine = "float32" if finest.dtype == torch.float32 else "float64"
    yield Probe(mixer=finest.mixer, what=fine, precision=finest.precision, lengths=lengths)
    single, last = subject.mixer(perturbed=True), subject.mixer(subject.size.num_layers - 1, perturbed=True)
    precision = FLOAT32
    yield Probe(mixer=last, what="float32", precision=precision, lengths=lengths, mode=TRAINING)
    yield Probe(mixer=single, what="float32", precision=precision, lengths=few)
    yield Probe(mixer=finest.mixer, what=fine, precision=finest.precision, lengths=(65, 128), mode=TRAINING)
    for mode in (Mode(grad=True), Mode(training=True), Mode(training=True, grad=True, autocast=True)):
        kind = BFLOAT16 if mode.autocast else precision
        what = "autocast" if mode.autocast else "float32"
        yield Probe(mixer=single, what=what, precision=kind, lengths=few if subject.thorough else (33, 128), mode=mode)
    for num_rows in BATCH_SIZES:
        yield Probe(mixer=single, what="float32", precision=precision, lengths=(65,), num_rows=num_rows)
        yield Probe(mixer=single, what="float32", precision=precision, lengths=(66,), num_rows=num_rows, mode=TRAINING)
    yield Probe(mixer=last, what="float32", precision=precision, lengths=(subject.length,), num_rows=16, mode=TRAINING)
    yield from _in_host(subject, finest)
    for scale in _INPUT_SCALES:
        yield Probe(mixer=single, what="float32", precision=precision, lengths=(65,), input_scale=scale)
    initial = subject.mixer()
    yield Probe(mixer=initial, what="initial weights", precision=precision, lengths=(65,), num_rows=2, mode=TRAINING)
    if (narrow := subject.bfloat16()) is not None:
        yield Probe(mixer=narrow, what="bfloat16", precision=BFLOAT16, lengths=few)
        yield Probe(mixer=narrow, what="bfloat16", precision=BFLOAT16, lengths=(64, 129), mode=TRAINING)
    for layer in range(24) if subject.thorough else subject.layers():
        what, mixer = f"layer {layer}", subject.mixer(layer, perturbed=True)
        yield Probe(mixer=mixer, what=what, precision=precision, lengths=(67,), num_rows=2, mode=TRAINING)
        yield Probe(mixer=mixer, what=what, precision=precision, lengths=(66,), num_rows=2)
    yield Probe(
        mixer=finest.mixer, what=fine, precision=finest.precision, lengths=(34, 96), salt=1
    )  # called often by now
    if subject.thorough:
        yield from _more_seeds(subject, lengths)


def _in_host(subject: Subject, finest: Finest) -> Iterator[Probe]:
    """All layers together, as they will be trained: what one of them hands to another behind the host's back shows."""
    what, lengths = "whole host", (33, subject.length)
    host = subject.host().to(finest.dtype)
    yield Probe(mixer=host, what=what, precision=finest.precision, lengths=lengths, tokens=True)
    host = subject.host()
    yield Probe(mixer=host, what=what, precision=FLOAT32, lengths=lengths, mode=TRAINING, tokens=True, num_rows=16)


def _more_seeds(subject: Subject, lengths: Sequence[int]) -> Iterator[Probe]:
    for seed in (1, 2):
        finest = subject.finest(seed)
        for mode in (EVALUATION, TRAINING):
            yield Probe(
                mixer=finest.mixer,
                what=f"seed {seed}",
                precision=finest.precision,
                lengths=lengths,
                mode=mode,
                salt=seed,
            )


def _batches(probe: Probe, length: int, hidden_size: int) -> Iterator[_Batch]:
    """Pairs of batches that agree in each row up to its cut."""
    small, large = SUFFIX_SCALES
    edge = (length - 1) // 32 * 32 or 1
    if length <= _SHORT and probe.mode == EVALUATION:
        rows = [(cut, scale) for cut in sorted({1, length // 2, edge, length - 1} - {0}) for scale in SUFFIX_SCALES]
    else:
        rows = sorted({(1, large), (max(1, length // 2), small), (edge, large), (length - 1, large)})
    if probe.num_rows is not None:
        few = [(length - 1, large), (length // 2, large)]
        rows = (few * probe.num_rows)[: max(probe.num_rows, len(few))]
    step = probe.num_rows or len(rows)
    dtype, generator = type_of(probe.mixer), torch.Generator().manual_seed(probe.salt + length)
    for start in range(0, len(rows), step):
        batch = rows[start : start + step]
        base_TD = _inputs(probe, length, hidden_size, torch.Generator().manual_seed(probe.salt))
        base_RTD = base_TD.repeat(len(batch), 1, 1)
        changed_RTD = base_RTD.clone()
        for row, (cut, scale) in enumerate(batch):
            suffix_TD = _inputs(probe, length - cut, hidden_size, generator)
            changed_RTD[row, cut:] = suffix_TD if probe.tokens else scale * suffix_TD
        yield _Batch(
            base=(probe.input_scale * base_RTD).to(dtype),
            changed=(probe.input_scale * changed_RTD).to(dtype),
            cuts=tuple(cut for cut, _ in batch),
            scales=tuple(scale for _, scale in batch),
        )


def _inputs(probe: Probe, length: int, hidden_size: int, generator: torch.Generator) -> Tensor:
    if not probe.tokens:
        return torch.randn(length, hidden_size, generator=generator)
    tokens_T = torch.randint(_ALPHABET, (length,), generator=generator)
    return inputs(1, _ALPHABET, hidden_size, seed=probe.salt)[0, tokens_T]


def _what_was_seen(probe: Probe, found: Influence) -> str:
    detail = (
        f"at length {found.length} other inputs from position {found.cut} on change outputs before it by "
        f"{found.figure:.2g} of their rms, limit {found.limit:.2g} ({probe}): let the output at t use inputs up to t"
    )
    if found.figure == float("inf"):
        detail = (
            f"at length {found.length} inputs of rms {SUFFIX_SCALES[-1]:g} from position {found.cut} on turn outputs "
            f"before it into NaN ({probe}): mask by masked_fill, not by multiplying, and bound what is exponentiated"
        )
    base_RTD = found.pair[0]
    once, again = (run(probe.mixer, base_RTD, probe.mode) for _ in range(2))
    if not torch.equal(once, again):
        return f"{detail}. Identical calls differ too: see `determinism` and `state`"
    if len(base_RTD) > 1:
        alone = [run(probe.mixer, x_RTD[found.row : found.row + 1], probe.mode) for x_RTD in found.pair]
        if torch.equal(alone[0][:, : found.cut], alone[1][:, : found.cut]):
            detail += ". A batch of this sequence alone does not show it: see `batch_independence`"
    return detail
