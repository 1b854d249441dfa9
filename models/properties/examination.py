"""The gate: properties of a candidate that are executed, not read. Runs in a sandbox child.

Every check is a function of a Subject that answers with a Finding or is Refused. What candidate code raises fails the
property at hand. Not guaranteed: that a candidate which recognises the examination behaves the same afterwards; the
sealed evaluation's prefix audit and the leak canary look again, where it cannot know. Which checks a candidate meets,
and in which order, its slot says (models.slots).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cognition.records import Property
from models.loading import candidate_traceback
from models.properties import basics, batch, causality, decoding, growth, position, prefix, repetition
from models.properties.running import unchanged_process
from models.properties.subject import Check, NotOffered, Refused, Subject
from models.scale import ModelSize
from models.slots import slot_named

# After a failure the costly ones are left out; those about leaks are not, so that a leak is named whatever else is
# wrong, unless nothing can be run or compared.
_CHECKS: Mapping[str, Check] = {
    "contract": basics.contract,
    "shape": basics.shape,
    "dtype": basics.dtype,
    "finite": basics.finite,
    "gradients": basics.gradients,
    "causality": causality.causality,
    "position_independence": position.position_independence,
    "batch_independence": batch.batch_independence,
    "prefix_consistency": prefix.prefix_consistency,
    "cost": growth.cost_growth,
    "determinism": repetition.determinism,
    "state": repetition.state,
    "decode": decoding.decode,
}
_COSTLY = ("cost", "decode")
_COMPARISONS = (
    *("causality", "position_independence", "batch_independence", "prefix_consistency"),
    *("determinism", "state"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the gate found; figures that a failed check left out are None or empty."""

    properties: tuple[Property, ...]
    fingerprint: tuple[float, ...] = ()
    structure: tuple[float, ...] = ()  # sketch of the operator graph
    layout: str = ""  # hash over the parameters' shapes
    num_parameters: int | None = None  # non-embedding, after matching
    ffn_width: int | None = None
    flops_per_token: float | None = None  # forward, whole host
    # Measured where the mixer offers `step`, else its own statement; 0 where positions were seen to be independent.
    state_bytes: int | None = None

    @property
    def passed(self) -> bool:
        return all(item.passed for item in self.properties)


def examine(
    source: str, slot: str, size: ModelSize, target_parameters: int, *, length: int = 128, thorough: bool = False
) -> Examination:
    """Execute the slot's checks on a candidate; random states, default type and threads are afterwards as they were.

    Nothing else runs where the module cannot be built or breaks `shape`; comparisons need finite outputs; `cost` and
    `decode` do not start after a failure. `decode` is reported only where the mixer offers `step`.

    Args:
        source: the candidate's text; it is executed here.
        slot: name of the slot that it fills.
        size: host at the exploration size.
        target_parameters: the reference's non-embedding parameters (backbone.reference_parameters).
        length: tokens at which FLOPs per token are counted; also one of the lengths of `causality`.
        thorough: lengths up to 3001, more layers and seeds; takes many times as long.
    """
    subject = Subject(
        source=source,
        slot=slot_named(slot),
        size=size,
        target_parameters=target_parameters,
        length=length,
        thorough=thorough,
    )
    properties: dict[str, Property] = {}
    with unchanged_process():
        for name in (*subject.slot.properties, *subject.slot.offered):
            if _may_run(name, subject):
                try:
                    properties[name] = _execute(name, _CHECKS[name], subject)
                except NotOffered:
                    continue
                if not properties[name].passed:
                    subject.refused.add(name)
    return Examination(
        properties=tuple(properties.values()),
        fingerprint=subject.fingerprint,
        structure=subject.signature.sketch,
        layout=subject.signature.layout,
        num_parameters=subject.num_parameters,
        ffn_width=subject.ffn_width,
        flops_per_token=subject.flops_per_token,
        state_bytes=subject.state_bytes,
    )


def _may_run(name: str, subject: Subject) -> bool:
    if (name != "contract" and subject.mixer_class is None) or "shape" in subject.refused:
        return False
    if name in _COMPARISONS:
        return "finite" not in subject.refused
    return not (subject.refused and name in _COSTLY)


def _execute(name: str, check: Check, subject: Subject) -> Property:
    try:
        finding = check(subject)
    except Refused as refusal:
        return Property(name=name, passed=False, figure=refusal.figure, limit=refusal.limit, detail=refusal.detail)
    except NotOffered:
        raise
    except Exception as error:  # noqa: BLE001 - candidate code may raise anything; its own lines are kept
        return Property(name=name, passed=False, detail=candidate_traceback(error))
    return Property(name=name, passed=True, figure=finding.figure, limit=finding.limit, detail=finding.detail)
