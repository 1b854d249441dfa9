"""What candidates cost where they were measured, as rows. Standard library only, handed on by `cognition.records`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """One candidate at one stage's size and one length, on one machine: telemetry, and never part of the fitness.

    Times are medians over repeats, by the clock of the process that asks; spreads are the distance of the quartiles as
    a share of the median. Ratios are to the slot's reference baseline, measured in turn: its time is 1.
    """

    TABLE: ClassVar[str] = "efficiency"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id", "stage", "length", "device", "measured_at")

    candidate_id: str
    stage: str
    length: int  # tokens
    device: str  # "cpu" or "cuda"
    measured_at: float  # seconds since the epoch
    machine: str  # the processor's or the GPU's name
    precision: str  # of the stage's recipe: "float32", or "bfloat16" under autocast
    batch_size: int  # sequences of a training step; their tokens are the stage's at every length, one sequence at least
    reference: str  # the baseline beside it
    num_repeats: int
    train_tokens_s: float | None = None
    train_spread: float | None = None
    train_ratio: float | None = None
    prefill_s: float | None = None  # one sequence of `length` tokens, up to the logits of the next one
    prefill_spread: float | None = None
    prefill_ratio: float | None = None
    decode_s: float | None = None  # one token of one sequence, behind `length` others
    decode_spread: float | None = None
    decode_ratio: float | None = None
    decode_form: str = ""  # "step": from states; "recompute": the prefix anew for every token, some layer has no step
    state_bytes: int | None = None  # carried by all layers for one sequence behind `length` tokens; None: recomputed
    train_peak_bytes: int | None = None
    prefill_peak_bytes: int | None = None
    memory: str = ""  # "allocated" on the GPU, weights included; "resident": by how much the process grew on a CPU
    flops_per_token: float | None = None  # forward, whole host, counted at this length
    num_parameters: int | None = None  # non-embedding
    detail: str = ""  # why figures are missing
