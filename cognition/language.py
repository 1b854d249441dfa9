"""What language models were asked, said and cost, as rows. Standard library only, handed on by `cognition.records`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cognition.kinds import CallOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """What a language model condensed the insights into: read by later proposals."""

    TABLE: ClassVar[str] = "syntheses"
    KEY: ClassVar[tuple[str, ...]] = ("round",)

    round: int  # the first is 1; one every `llm.synthesis_every` candidates
    number: int  # it knows the candidates up to this number
    text: str
    works: tuple[str, ...] = ()
    worn_out: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()  # insight ids
    model: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The model judge's score of a published mixer: scored first and again later, so that its drift shows."""

    TABLE: ClassVar[str] = "calibrations"
    KEY: ClassVar[tuple[str, ...]] = ("round", "name")

    round: int  # 0 before the first candidate is judged
    name: str
    candidate_id: str
    opinion: float | None = None  # 1..10, median; None: no sample could be read
    spread: float | None = None
    num_samples: int = 0
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmCall:
    """One attempt to call a language model, answered or not."""

    TABLE: ClassVar[str] = "llm_calls"
    KEY: ClassVar[tuple[str, ...]] = ("call_id",)

    call_id: str
    role: str  # "researcher", "engineer", "judge", "analyst", "summary", "embedder"
    purpose: str  # "propose", "repair", "assess", "calibrate", "explain", "synthesise", "summarise", "embed"
    number: int  # the candidate's number, or the round
    attempt: int = 0
    sample: int = 0  # where the same question is asked several times
    turn: int = 0  # 0 the question; 1 and on: a correction was asked for
    arm: str = ""
    candidate_id: str | None = None  # the candidate that came of it, or that it is about
    model: str
    prompt: str  # "role/task": files of agents/prompts
    prompt_version: str  # "system.task"
    prompt_hash: str  # 16 hex digits over everything that was sent as text
    messages: str = ""  # what was sent (JSON)
    reply: str = ""  # shortened in the middle where it is very long
    outcome: CallOutcome
    detail: str = ""
    input_tokens: int = 0  # as the provider counts them, cached ones included
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    held_usd: float = 0.0  # the reservation of an unanswered call: it stays reserved
    held_tokens: int = 0
    latency_s: float = 0.0
    created_at: float = 0.0  # when it was made


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What a model's work for one attempt was worth: the bandit that chooses models learns from these rows alone."""

    TABLE: ClassVar[str] = "rewards"
    KEY: ClassVar[tuple[str, ...]] = ("role", "number", "attempt", "model")

    role: str
    number: int
    attempt: int = 0
    model: str
    reward: float  # 0..1
    usd: float = 0.0  # what its calls cost, failed ones included
    reason: str = ""
    created_at: float = 0.0
