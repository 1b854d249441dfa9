"""A design's weaknesses in words, as its measurements show them: what the cognition base is asked with. Pure functions.

The words are those of analyses, so that they meet the triggers of the library's entries. Not covered: why it is weak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from agents.brief import Evidence, Member
from cognition.records import FailureKind, Insight

_WORSE = 0.05  # of probe accuracy, or of the loss's relative gap, from which on it is told
_HEAVIER = 1.15  # times the reference's cost
_MOST = 3  # weaknesses of one design

# What a low accuracy of a probe means, by the beginning of its score's name.
_PROBES: Mapping[str, str] = {
    "mqar": "multi-query associative recall is poor: key-value lookups fail, stored associations interfere or are lost",
    "in_context_recall": "in-context recall is poor: what a key was bound to earlier in the context is not found again",
    "fuzzy_recall": "fuzzy recall is poor: keys of several tokens are not put together before they are looked up",
    "noisy_recall": "recall among noise is poor: irrelevant tokens enter the state and drown what matters",
    "selective_copying": "selective copying is poor: marked tokens are not kept apart from filler, order is lost",
    "compression": "compression is poor: the state does not hold a summary of the whole sequence",
    "memorization": "memorization is poor: fixed facts are not stored in the weights",
    "parity": "state tracking is poor on parity: transitions cannot flip a sign, counting modulo two fails",
    "s3": "state tracking is poor on permutations of three: transitions do not compose into a group",
    "s5": "state tracking is poor on permutations of five: the recurrence cannot follow a non-solvable group",
}
_FAILURES: Mapping[FailureKind, str] = {
    FailureKind.nonfinite: "training gives NaN or infinity: the state or a gate overflows",
    FailureKind.diverged: "training diverges: the loss explodes, updates or gates are unstable",
    FailureKind.no_progress: "training makes no progress: the loss stays where it started, gradients do not arrive",
    FailureKind.slow: "a training step is far slower than the baseline's: the recurrence runs step by step",
    FailureKind.memory: "training runs out of memory: activations or states are held for every step",
    FailureKind.timeout: "training does not end in time: throughput is too low",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weakness:
    """One shortcoming, with how bad it is beside the others."""

    text: str
    severity: float  # 0: level with the reference; 1: as bad as chance, or twice the cost


def weaknesses_of(member: Member, reference: Member | None) -> tuple[Weakness, ...]:
    """What a design does worse than the reference, the worst first."""
    found = [*_of_probes(member, reference), *_of_loss(member, reference), *_of_cost(member, reference)]
    return tuple(sorted(found, key=lambda weakness: -weakness.severity)[:_MOST])


def weakness_of_evidence(evidence: Evidence) -> Weakness | None:
    """What a broken candidate suffers from, as far as it says something about the design."""
    trial = evidence.failed_trial
    text = _FAILURES.get(trial.failure) if trial is not None and trial.failure is not None else None
    return Weakness(text=text, severity=1.0) if text else None


def query_of(parents: Sequence[Member], reference: Member | None, insights: Iterable[Insight] = ()) -> str:
    """The weakness of a proposal's parents in words: what knowledge is asked for with.

    Args:
        insights: of an analyst in words; those on the first parent that did not help are quoted. Arms that go without
            analysis hand over none.
    """
    lines: list[str] = []
    for parent in parents[:2]:
        lines += [weakness.text for weakness in weaknesses_of(parent, reference)]
    if parents:
        first = parents[0].candidate.candidate_id
        lines += [i.claim for i in insights if i.candidate_id == first and i.source == "llm" and i.high > 0][:2]
    if not lines:
        lines = ["the validation loss is level with the baseline and no probe is weak: what else lowers the loss"]
    return "; ".join(dict.fromkeys(lines))


def _of_probes(member: Member, reference: Member | None) -> Iterable[Weakness]:
    own, theirs = _accuracies(member), _accuracies(reference)
    for name, (accuracy, chance) in own.items():
        rival = max(theirs.get(name, (1.0, chance))[0], accuracy)
        best = max(rival, 0.95)  # a reference that fails as well is no measure of what can be had
        severity = (best - accuracy) / max(best - chance, 1e-6)
        if best - accuracy > _WORSE:
            words = next((text for start, text in _PROBES.items() if name.startswith(start)), f"{name} is low")
            versus = f", baseline {theirs[name][0]:.2f}" if name in theirs else ""
            yield Weakness(text=f"{words} ({name} {accuracy:.2f}{versus}, chance {chance:.2f})", severity=severity)


def _of_loss(member: Member, reference: Member | None) -> Iterable[Weakness]:
    own, theirs = _loss(member), _loss(reference)
    if own is None or theirs is None or theirs <= 0:
        return
    gap = (own - theirs) / theirs
    if gap > _WORSE / 5:
        text = f"validation loss on text is worse than the baseline's ({own:.3f} against {theirs:.3f} nats per token)"
        yield Weakness(text=text, severity=min(1.0, gap / _WORSE))


def _of_cost(member: Member, reference: Member | None) -> Iterable[Weakness]:
    own, theirs = member.report, reference.report if reference else None
    if own is None or theirs is None:
        return
    if own.flops_per_token and theirs.flops_per_token and own.flops_per_token > _HEAVIER * theirs.flops_per_token:
        ratio = own.flops_per_token / theirs.flops_per_token
        yield Weakness(text=f"it costs {ratio:.2f} times the baseline's FLOPs per token", severity=min(1.0, ratio - 1))
    if own.state_bytes and theirs.state_bytes and own.state_bytes > _HEAVIER * theirs.state_bytes:
        ratio = own.state_bytes / theirs.state_bytes
        text = f"its decode state is {ratio:.2f} times the baseline's: memory in decoding is high"
        yield Weakness(text=text, severity=min(1.0, (ratio - 1) / 2))


def _accuracies(member: Member | None) -> dict[str, tuple[float, float]]:
    """Mean accuracy and chance of every probe."""
    values: dict[str, list[float]] = {}
    chances: dict[str, float] = {}
    for trial in member.trials if member else ():
        for score in trial.scores:
            if score.name.endswith("_accuracy"):
                values.setdefault(score.name, []).append(score.value)
                chances[score.name] = score.chance or 0.0
    return {name: (fmean(found), chances[name]) for name, found in values.items()}


def _loss(member: Member | None) -> float | None:
    return member.verdict.loss if member and member.verdict else None
