"""What is claimed of candidates that were retrained, of their parts, and the noise that it stands on, as rows.

Standard library only, handed on by `cognition.records`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cognition.kinds import ClaimState, PartFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statistical statement on verified trials: candidate against one baseline, on the same seeds.

    It is made anew when seeds come or its state changes: of the rows of one pair the last revision holds. State, reason
    and what more seeds would cost are the candidate's, against all of its baselines.
    """

    TABLE: ClassVar[str] = "claims"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id", "baseline_id", "stage", "revision")

    candidate_id: str
    baseline_id: str
    stage: str
    split: str
    num_seeds: int
    mean_loss: float
    std_loss: float | None
    baseline_mean_loss: float
    baseline_std_loss: float | None
    difference: float  # mean of paired loss differences, candidate - baseline; negative is better
    low: float | None  # 95% at every look at once (a confidence sequence); None: too few seeds for any
    high: float | None
    exploration_loss: float | None = None  # what exploration had promised (winner's curse)
    revision: int = 1
    state: ClaimState = ClaimState.undecided
    reason: str = ""
    e_value: float = 1.0  # evidence that it beats this baseline: 1 is none
    deciding: bool = True  # of its baselines this is the one that there is least evidence against
    num_baselines: int = 1  # it was held against
    num_tested: int = 1  # candidates at the stage that the correction counts
    num_looks: int = 0  # sealed evaluations on this split in the whole campaign by then
    smallest_difference: float | None = None  # that so many seeds tell in four of five cases; None: none
    seeds_needed: int | None = None  # until it is a discovery, if the differences stay; None: settled, or over 1,000
    slot_hours_needed: float | None = None  # what they cost, the baselines' included
    gpu_hours_needed: float | None = None
    promised: float | None = None  # the difference to this baseline at exploration
    gap: float | None = None  # difference - promised: above zero, less was verified than exploration had promised
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevel:
    """How far a figure scatters over seeds at one stage, as measured by then; of a figure the last row holds."""

    TABLE: ClassVar[str] = "noise"
    KEY: ClassVar[tuple[str, ...]] = ("scale", "stage", "metric", "num_results")

    scale: str
    stage: str
    metric: str  # "loss" (nats per token) or "benchmark" (0..1)
    num_results: int  # trials behind it
    num_mixers: int
    num_seeds: int  # that each of them was trained on
    sigma: float  # standard deviation of a paired difference between two mixers on one seed
    dof: int
    stage_seeds: int  # what every candidate gets there
    smallest_difference: float | None = None  # that these tell in four of five cases; None: none
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What one part of a verified design is worth: the same training without it, on the same seeds."""

    TABLE: ClassVar[str] = "ablations"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id", "variant_id", "stage", "num_seeds", "tolerance")

    candidate_id: str  # the whole design
    variant_id: str  # the one without: a candidate of the campaign in `run`
    parts: tuple[str, ...]  # one, or those that were left out together
    kind: str  # "removed", or "swapped" for the parent's
    change: str  # "without long_fir", "long_taps: 31 -> 0"
    simplified: bool = False  # this variant takes the title
    stage: str
    split: str
    num_seeds: int  # that both finished; 0: the variant has no result
    effect: float | None = None  # loss of the variant - loss of the design, nats per token; above 0: the part helps
    low: float | None = None  # 95% for all parts of the design together; None with fewer than two seeds
    high: float | None = None
    finding: PartFinding
    tolerance: float  # nats per token that a part may be worth and still be not needed
    seeds_needed: int | None = None  # where it is unclear: so many in all might tell
    detail: str = ""  # why the variant has no result
    run: str = ""  # run folder in which the variants were trained
    created_at: float = 0.0
