"""The slots that a campaign can search: entry class, reference and baselines. No torch: Ray workers import this."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BASELINE_FOLDER = Path(__file__).resolve().parent / "baselines"
_CONTRACT = Path(__file__).resolve().parent / "contract.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in the host model that candidates fill."""

    name: str
    entry: str  # class that a candidate's module has to define
    reference: str  # baseline that sets the parameter budget
    baselines: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.reference not in self.baselines:
            raise ValueError(
                f"slot {self.name}: reference {self.reference!r} is none of its baselines {self.baselines}"
            )


SLOTS: dict[str, Slot] = {
    "token_mixer": Slot(
        name="token_mixer",
        entry="TokenMixer",
        reference="delta_net",
        baselines=("linear_attention", "retnet", "delta_net", "gated_delta_net"),
    )
}


def slot_named(name: str) -> Slot:
    """The slot of that name; ValueError names those that exist."""
    if name not in SLOTS:
        raise ValueError(f"no slot named {name!r}; there are {', '.join(SLOTS)}")
    return SLOTS[name]


@cache  # confined children cannot read it any more
def baseline_source(slot: str, name: str) -> str:
    """Source text of a slot's baseline, itself a valid candidate."""
    baselines = slot_named(slot).baselines
    if name not in baselines:
        raise ValueError(f"slot {slot} has no baseline {name!r}; it has {', '.join(baselines)}")
    return (_BASELINE_FOLDER / f"{name}.py").read_text(encoding="utf-8")


def contract_text(slot: str) -> str:
    """What a candidate for the slot has to keep to, in Markdown, as researchers read it."""
    slot_named(slot)
    return _CONTRACT.read_text(encoding="utf-8")
