"""Arms: who proposes, and with which aids. The one way to choose and to mix researchers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agents.llm.settings import LlmSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm's proposals are made with. Two arms may share a proposer and differ in what it is told."""

    proposer: str  # "grammar", "random", "llm", "transcript", "inbox", or one that was handed in
    reads: bool = False  # is told more than the grammar can use: contract, history, curves
    knowledge: bool = False  # ... the field's literature
    analysis: bool = False  # ... the analyst's insights and syntheses

    @property
    def asks_models(self) -> bool:
        return self.proposer == "llm"


ARMS: Mapping[str, Arm] = {
    "llm": Arm(proposer="llm", reads=True, knowledge=True, analysis=True),
    "llm_no_cognition": Arm(proposer="llm", reads=True, analysis=True),
    "llm_no_analysis": Arm(proposer="llm", reads=True, knowledge=True),
    "grammar": Arm(proposer="grammar", analysis=True),
    "random": Arm(proposer="random", analysis=True),  # it looks at none of it
    "inbox": Arm(proposer="inbox", reads=True, knowledge=True, analysis=True),
    "transcript": Arm(proposer="transcript", reads=True, knowledge=True, analysis=True),
}


def arm_named(name: str) -> Arm:
    """A known arm; one that was handed in from Python is told everything."""
    return ARMS.get(name, Arm(proposer=name, reads=True, knowledge=True, analysis=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSettings:
    """The arms of a campaign: each candidate belongs to one, drawn by weight."""

    name: str
    weights: Mapping[str, float] = field(default_factory=lambda: {"grammar": 3.0, "random": 1.0})
    with_model: Mapping[str, float] = field(default_factory=dict)  # instead, where a model plays the researcher

    def __post_init__(self) -> None:
        for arm, weight in (*self.weights.items(), *self.with_model.items()):
            if not 0 <= weight < math.inf:
                raise ValueError(f"arms.weights.{arm} is {weight}: use a number of 0 or more")
        if not sum(self.weights.values()) > 0:
            raise ValueError(f"arms.weights is {dict(self.weights)}: at least one arm needs a weight above zero")

    @property
    def drawn(self) -> tuple[str, ...]:
        """Arms with a weight, by name."""
        return tuple(sorted(arm for arm, weight in self.weights.items() if weight > 0))


def resolved_arms(arms: ArmSettings, llm: LlmSettings, handed_in: Iterable[str]) -> ArmSettings:
    """The arms as they are drawn, now that it is known which models there are.

    Raises:
        ValueError: an unknown arm, or one that needs a model, a transcript or nothing that is there.
    """
    if arms.with_model and llm.plays("researcher"):
        arms = dataclasses.replace(arms, weights=arms.with_model)
    arms = dataclasses.replace(arms, with_model={})
    known = (*ARMS, *handed_in)
    for arm in arms.weights:
        if arm not in known:
            raise ValueError(f"arms.weights has {arm!r}: known arms are {', '.join(known)}")
    for arm in arms.drawn:
        if arm_named(arm).asks_models and not llm.plays("researcher"):
            raise ValueError(
                f"arm {arm!r} needs a language model and there is none: set OPENAI_API_KEY, ANTHROPIC_API_KEY, "
                "GEMINI_API_KEY or OPENAI_API_BASE (llm=auto), or name models (llm=local), or use arms=grammar"
            )
        if arm == "transcript" and llm.transcript is None:
            raise ValueError("arm 'transcript' plays a recorded campaign: name it with llm.transcript=runs/OLD")
    return arms
