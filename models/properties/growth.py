"""Executed cost: how counted work and memory grow with the length of the sequence."""

from __future__ import annotations

from dataclasses import dataclass

from models import cost
from models.backbone import build
from models.properties.subject import Finding, Refused, Subject

LENGTHS = (128, 256, 512, 1024)
_LONG_LENGTHS = (256, 512, 1024, 2048, 4096)  # where `thorough`
_LOOP = 0.8  # operators that grow faster than this exponent are called by a loop over time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growth:
    what: str
    exponent: float


def cost_growth(subject: Subject) -> Finding:
    """FLOPs, elements touched, peak bytes of a training pass, each fitted: below the slot's power of T or refused."""
    lengths = _LONG_LENGTHS if subject.thorough else LENGTHS
    mixer, hidden_size = subject.mixer(), subject.size.hidden_size
    counts = [cost.count(mixer, hidden_size, length) for length in lengths]
    found = [
        _Growth(what="FLOPs", exponent=cost.exponent(lengths, [item.flops for item in counts])),
        _Growth(what="elements touched", exponent=cost.exponent(lengths, [item.elements for item in counts])),
        _Growth(what="peak bytes", exponent=cost.exponent(lengths, [item.peak_bytes for item in counts])),
    ]
    detail = ", ".join(f"{item.what} T^{item.exponent:.2f}" for item in found)
    operators = [item.operators for item in counts]
    if operators[-1] > lengths[-1] and cost.exponent(lengths, operators) > _LOOP:  # a loop over chunks calls fewer
        detail += f"; {operators[-1]} operators at T = {lengths[-1]}: a Python loop over time, slow to train"
    worst = max(found, key=lambda item: item.exponent)
    limit = subject.slot.cost_exponent
    if worst.exponent > limit:
        raise Refused(
            f"{worst.what} grow as T^{worst.exponent:.2f} up to T = {lengths[-1]}; stay below T^{limit}: chunk it "
            f"({detail})",
            worst.exponent,
            limit,
        )
    assert subject.mixer_class is not None
    if subject.ffn_width is not None:
        model = build(subject.mixer_class, subject.size, subject.ffn_width, seed=0, slot=subject.slot.name).eval()
        subject.flops_per_token = cost.flops_per_token(model, subject.length)
    return Finding(figure=worst.exponent, limit=limit, detail=detail)
