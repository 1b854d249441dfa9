"""What novelty makes of the labelled pairs: measures, decisions, precision and recall.

A pair is found a duplicate, or not; precision is the share of those found that are the same, recall the share of the
same that are found. A wrong refusal costs an idea, a missed one a trial.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cognition.novelty import Found, NoveltySettings, Tried, decide
from cognition.records import Report, ReportKind, candidate_id_of
from models.cost import count_flops, decode_state_bytes
from models.fingerprint import fingerprint
from models.loading import load_mixer
from models.signature import signature
from models.slots import slot_named
from tests.novelty.pairs import Pair

WIDTH, HEADS, CHANNEL_WIDTH, LENGTH = 64, 4, 160, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A pair with what was found."""

    pair: Pair
    same_text: bool  # the normalised source's hash
    found: Found  # of the second, against the first alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How often a way to decide was right."""

    num_pairs: int
    num_same: int
    num_found: int
    num_right: int  # found, and the same

    @property
    def precision(self) -> float | None:
        return self.num_right / self.num_found if self.num_found else None

    @property
    def recall(self) -> float | None:
        return self.num_right / self.num_same if self.num_same else None

    def __str__(self) -> str:
        shown = ["-" if value is None else f"{value:.3f}" for value in (self.precision, self.recall)]
        return f"{self.num_pairs:>5} {self.num_same:>5} {self.num_found:>6} {shown[0]:>10} {shown[1]:>7}"


HEADER = f"{'':<34}{'pairs':>5} {'same':>5} {'found':>6} {'precision':>10} {'recall':>7}"


@functools.lru_cache(maxsize=64)  # a base stands in many pairs
def report_on(source: str, slot: str, number: int) -> Report:
    """What the gate hands over of a design, without the gate's checks."""
    chosen = slot_named(slot)
    mixer_class = load_mixer(source, chosen.entry)
    second = CHANNEL_WIDTH if chosen.takes_width else HEADS

    def make(layer: int):  # type: ignore[no-untyped-def]
        return mixer_class(WIDTH, second, layer_idx=layer)

    import torch

    mixer = make(0).eval()
    seen = signature(mixer, WIDTH)
    x_BTD = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
    return Report(
        candidate_id=candidate_id_of(source),
        number=number,
        attempt=0,
        kind=ReportKind.passed,
        fingerprint=fingerprint(make, WIDTH),
        structure=seen.sketch,
        layout=seen.layout,
        num_parameters=sum(parameter.numel() for parameter in mixer.parameters()),
        flops_per_token=count_flops(lambda: mixer(x_BTD)) / LENGTH,
        state_bytes=decode_state_bytes(mixer) if hasattr(mixer, "step") else None,
    )


def measured(pair: Pair) -> Measured:
    """Measure both and compare the second with the first."""
    first, second = report_on(pair.first, pair.slot, 0), report_on(pair.second, pair.slot, 1)
    tried = Tried()
    tried.add(first)
    return Measured(pair=pair, same_text=first.candidate_id == second.candidate_id, found=tried.by_design(second))


def figures(items: Iterable[Measured], duplicate: Callable[[Measured], bool]) -> Figures:
    """Count what a way to decide gets right."""
    judged = [(item.pair.same, duplicate(item)) for item in items]
    return Figures(
        num_pairs=len(judged),
        num_same=sum(same for same, _ in judged),
        num_found=sum(found for _, found in judged),
        num_right=sum(same and found for same, found in judged),
    )


def by_source(item: Measured) -> bool:
    return item.same_text


def by_behaviour(item: Measured, threshold: float = NoveltySettings().same_behaviour) -> bool:
    return item.found.behaviour is not None and item.found.behaviour.distance < threshold


def by_structure(item: Measured, threshold: float = NoveltySettings().same_structure) -> bool:
    """Whatever the layout: what structure alone would say."""
    return item.found.structure is not None and item.found.structure.distance < threshold


def combined(item: Measured, settings: NoveltySettings | None = None) -> bool:
    """The decision that a campaign takes."""
    return by_source(item) or decide(item.found, settings or NoveltySettings()).duplicate


WAYS: Mapping[str, Callable[[Measured], bool]] = {
    "source hash alone": by_source,
    "behaviour alone": by_behaviour,
    "structure alone": by_structure,
    "all together": combined,
}


def table(items: Sequence[Measured]) -> str:
    """Every way over all pairs, then all together by kind."""
    lines = [HEADER, *(f"{name:<34}{figures(items, way)}" for name, way in WAYS.items())]
    kinds = sorted({item.pair.kind for item in items})
    for kind in kinds:
        own = [item for item in items if item.pair.kind == kind]
        lines.append(f"{'all together: ' + kind:<34}{figures(own, combined)}")
    return "\n".join(lines)


def mistakes(items: Sequence[Measured]) -> Sequence[str]:
    """Pairs that all measures together get wrong."""
    return [
        f"{'refused' if not item.pair.same else 'missed'}: {item.pair.name} ({item.pair.kind}); {_near(item.found)}"
        for item in items
        if combined(item) is not item.pair.same
    ]


def _near(found: Found) -> str:
    shown = {"behaviour": found.behaviour, "structure": found.structure, "relaid": found.relaid}
    return ", ".join(f"{name} {near.distance:.1e}" for name, near in shown.items() if near is not None)
