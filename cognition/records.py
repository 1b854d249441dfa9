"""The shared language: every row that a campaign leaves behind.

Standard library only, importable by every package. One frozen dataclass is one table of the store; field names are
the column names that users write SQL against (docs/lineage.md documents them, a test freezes them).

Identity is content: a candidate's id is the hash of its source with comments and blank lines normalised by tokens.
"""

from __future__ import annotations

import hashlib
import io
import math
import tokenize
from dataclasses import dataclass
from typing import ClassVar

from cognition.efficiency import Efficiency as Efficiency
from cognition.evidence import Ablation as Ablation
from cognition.evidence import Claim as Claim
from cognition.evidence import NoiseLevel as NoiseLevel
from cognition.kinds import CallOutcome as CallOutcome
from cognition.kinds import ChargeOutcome as ChargeOutcome
from cognition.kinds import ClaimState as ClaimState
from cognition.kinds import FailureKind as FailureKind
from cognition.kinds import PartFinding as PartFinding
from cognition.kinds import ReportKind as ReportKind
from cognition.kinds import TrialStatus as TrialStatus
from cognition.language import Calibration as Calibration
from cognition.language import LlmCall as LlmCall
from cognition.language import Reward as Reward
from cognition.language import Synthesis as Synthesis
from cognition.literature import Declared as Declared
from cognition.literature import Entry as Entry
from cognition.literature import Origin as Origin
from cognition.literature import Paper as Paper
from cognition.literature import Retrieval as Retrieval
from cognition.literature import Vector as Vector
from cognition.spending import Charge as Charge
from cognition.spending import charge_id_of as charge_id_of

_LAYOUT_TOKENS = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


def normalised_source(source: str) -> str:
    """Source as a token stream without comments, blank lines and spacing; text that does not tokenise stays itself."""
    words: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in _LAYOUT_TOKENS:
                continue
            if token.type == tokenize.INDENT:
                words.append("<indent>")
            elif token.type == tokenize.DEDENT:
                words.append("<dedent>")
            elif token.type == tokenize.NEWLINE:
                words.append("<newline>")
            else:
                words.append(token.string)
    except (tokenize.TokenError, SyntaxError):
        return source
    return "\n".join(words)


def candidate_id_of(source: str) -> str:
    """The candidate's id: 16 hex digits of SHA-256 over the normalised source."""
    return hashlib.sha256(normalised_source(source).encode()).hexdigest()[:16]


def trial_id_of(candidate_id: str, stage: str, seed: int) -> str:
    """One training is one (candidate, stage, seed); asking for it twice is the same trial."""
    return f"{candidate_id}-{stage}-s{seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Source text that somebody proposed. `number` orders a campaign; `attempt` counts repairs of the same number."""

    TABLE: ClassVar[str] = "candidates"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id",)

    candidate_id: str
    number: int
    attempt: int = 0
    arm: str
    slot: str
    name: str
    motivation: str
    source: str
    parent_ids: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # what differs from the first parent, as "field: old -> new"
    repairs: str | None = None  # candidate_id of the attempt that this one repairs
    declared: tuple[Declared, ...] = ()  # where its author says that its elements come from; stored as JSON
    genome: str | None = None  # the grammar's own notes (JSON); nothing but the grammar reads it
    mode: str = ""  # what a language model was asked for: "refine", "combine", "simplify", "explore", "repair"
    model: str | None = None  # the language model that wrote it
    created_at: float = 0.0  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One executed check of the gate: a figure and the limit that it had to keep."""

    name: str
    passed: bool
    figure: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The gate's report on one attempt."""

    TABLE: ClassVar[str] = "reports"
    KEY: ClassVar[tuple[str, ...]] = ("number", "attempt")

    candidate_id: str
    number: int
    attempt: int
    kind: ReportKind
    asked_arm: str = ""  # who was asked for the attempt
    detail: str = ""  # the first failing property, or the trimmed traceback
    properties: tuple[Property, ...] = ()  # stored as JSON
    fingerprint: tuple[float, ...] = ()  # behaviour under fixed weights and inputs
    structure: tuple[float, ...] = ()  # sketch of the traced operator graph
    layout: str = ""  # hash over the parameters' shapes
    nearest_id: str | None = None  # nearest earlier candidate by fingerprint
    nearest_distance: float | None = None
    structure_id: str | None = None  # nearest earlier candidate by structure
    structure_distance: float | None = None
    motivation_id: str | None = None  # nearest earlier candidate, failures included, by motivation
    motivation_similarity: float | None = None
    duplicate_by: str = ""  # "source", "behaviour", "structure", "motivation" or "opinion", where it is a duplicate
    num_parameters: int | None = None  # non-embedding, after matching, at the exploration size
    ffn_width: int | None = None  # the host's matched feed-forward width
    flops_per_token: float | None = None  # forward, whole host, at the exploration length
    state_bytes: int | None = None  # decode state of one mixer layer and one sequence; None: grows with T or unknown
    duration_s: float = 0.0
    created_at: float = 0.0

    @property
    def refused(self) -> bool:
        return self.kind is not ReportKind.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One point of a trial's training curve: telemetry of the training child, good enough to stop, never to rank."""

    TABLE: ClassVar[str] = "metrics"
    KEY: ClassVar[tuple[str, ...]] = ("trial_id", "task", "step")

    trial_id: str
    task: str  # "text" or a probe's name
    step: int
    loss: float  # nats per token, mean since the last point
    grad_norm: float
    learning_rate: float
    tokens: int  # trained so far
    elapsed_s: float  # since the trial started
    peak_bytes: int | None = None  # the training child's largest memory so far: resident, or allocated on its GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the reference baseline needed at a stage: the yardstick by which a trial under way is judged anomalous."""

    step_s: float  # seconds per training step, median
    losses: tuple[tuple[int, float], ...] = ()  # (step, training loss): the lowest of its trials at each point

    def __post_init__(self) -> None:
        if not 0 < self.step_s < math.inf:
            raise ValueError(f"pace.step_s is {self.step_s}; give the seconds of a step, above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A figure of the sealed evaluation."""

    name: str  # "loss", "mqar_accuracy", ...
    value: float
    stderr: float | None = None
    chance: float | None = None  # what guessing gives
    num_items: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training of one candidate at one stage with one seed, finished or failed."""

    TABLE: ClassVar[str] = "trials"
    KEY: ClassVar[tuple[str, ...]] = ("trial_id",)

    trial_id: str
    candidate_id: str
    stage: str
    seed: int
    split: str  # "validation" or "heldout": where the sealed loss was measured
    status: TrialStatus
    failure: FailureKind | None = None
    detail: str = ""
    loss: float | None = None  # sealed, nats per token; None unless finished
    loss_stderr: float | None = None
    benchmark: float | None = None  # mean probe accuracy of the sealed evaluation, 0..1
    scores: tuple[Score, ...] = ()  # stored as JSON
    train_loss: float | None = None  # telemetry: last reported training loss
    num_parameters: int | None = None  # counted in the saved weights, non-embedding
    ffn_width: int | None = None
    steps: int = 0
    tokens: int = 0
    train_s: float = 0.0  # first to last training step, with what a checkpoint brought along
    slot_s: float = 0.0  # from taking the slot to giving it back
    queued_at: float = 0.0
    started_at: float = 0.0  # slot taken
    first_step_at: float = 0.0
    finished_at: float = 0.0
    worker: str = ""  # node and process that hosted it
    pool: str = ""  # where it ran
    num_gpus: float = 0.0  # that it held there
    continued_from: int = 0  # step of the text that a checkpoint let it go on from, 0: it began at the beginning

    @property
    def succeeded(self) -> bool:
        return self.status is TrialStatus.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The Judge's score of one exploration; every term of the fitness is kept."""

    TABLE: ClassVar[str] = "verdicts"
    KEY: ClassVar[tuple[str, ...]] = ("candidate_id", "stage")

    candidate_id: str
    number: int
    stage: str
    fitness: float | None  # None: no result, or not to be believed
    loss: float | None = None  # the figure judged (mean over seeds)
    loss_term: float | None = None  # sigmoid(slope * clipped relative gain)
    benchmark: float | None = None  # mean probe accuracy judged, on the same seeds
    benchmark_term: float | None = None
    quality_term: float | None = None  # the LLM judge's score, or the measured quality where none judges
    quality_source: str = "measured"  # "measured", "llm", or "both" where the quality is a blend
    cost_quality: float | None = None  # parts of the measured quality, 0..1 each
    state_quality: float | None = None
    novelty_quality: float | None = None
    loss_weight: float = 0.0
    benchmark_weight: float = 0.0
    quality_weight: float = 0.0
    opinion: float | None = None  # the model judge's score, 1..10, median over its samples
    opinion_spread: float | None = None  # largest minus smallest sample
    num_opinions: int = 0
    suspicious: bool = False  # beats the best baseline by more than the leak margin: re-examined before it was believed
    reason: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """What one result taught: a statement that can be checked, with its evidence and its uncertainty."""

    TABLE: ClassVar[str] = "insights"
    KEY: ClassVar[tuple[str, ...]] = ("insight_id",)

    insight_id: str
    candidate_id: str
    number: int
    claim: str
    slot: str
    stage: str
    against: str  # "parent", "sibling" or "baseline"
    against_id: str
    change: str | None = None  # one change of the candidate: "field: old -> new"; None: the candidate as a whole
    effect: float  # loss(candidate) - loss(against), nats per token; negative is better
    low: float  # 95% interval
    high: float
    evidence: tuple[str, ...] = ()  # trial ids
    source: str = "measured"  # who words the claim: "measured", or "llm"; effect and interval are always measured
    expectation: str = ""  # of the candidate's author, as the model sees it: "met", "missed", "unclear"
    scale: str = ""  # conf/scale: where it was measured
    subject: str = ""  # what later insights have to share to replicate or contradict it; "" where none can
    # All that is known of the subject when this is written, this result included:
    pooled_effect: float | None = None
    pooled_low: float | None = None
    pooled_high: float | None = None
    num_studies: int = 1
    num_contradicting: int = 0  # of them, those whose interval lies on the other side of zero than the pooled effect
    confidence: float | None = None  # that the claim's direction is right, 0..1
    from_run: str = ""  # the campaign that it was carried over from; "" for this one's own
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """A stopping policy on a trial under way: it would not reach the bar. Controls are let run on all the same."""

    TABLE: ClassVar[str] = "early_stops"
    KEY: ClassVar[tuple[str, ...]] = ("trial_id",)

    trial_id: str
    candidate_id: str
    stage: str
    policy: str
    step: int  # where it was decided
    loss: float  # training loss at that step: telemetry
    bar: float  # sealed loss of the last peer that was then among the best
    chance: float | None = None  # that its sealed loss would have reached the bar; None: the policy gives no chance
    spared: bool = False  # a control: not stopped, so that its end shows whether the policy was right
    detail: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """How well one stage ranks candidates as the next one does: Spearman's rho over all that were trained at both.

    Only the best of the lower stage climb, so rho is lower here than it would be over all candidates.
    """

    TABLE: ClassVar[str] = "rank_correlations"
    KEY: ClassVar[tuple[str, ...]] = ("lower", "upper", "num_pairs")

    scale: str
    lower: str  # stages
    upper: str
    num_pairs: int  # baselines included
    rho: float  # between mean sealed losses
    low: float | None = None  # 95% interval; None with fewer than four pairs
    high: float | None = None
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The recovery log: an intent before anything that costs, and what happened to the campaign itself."""

    TABLE: ClassVar[str] = "events"
    KEY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: str
    kind: str  # "intent", "started", "climbed", "campaign_started", "campaign_finished", ...: docs/lineage.md
    subject: str = ""  # what it is about: "propose/7", a trial id, the candidate that climbed, ...
    detail: str = ""  # of "climbed": the stage
    created_at: float = 0.0


Judged = Verdict | Insight | Claim | NoiseLevel | Ablation | EarlyStop | RankCorrelation
Measured = Candidate | Report | Metric | Trial | Charge | Efficiency | Judged
Known = Paper | Entry | Retrieval | Origin | Vector
Record = Measured | Known | Synthesis | Calibration | LlmCall | Reward | Event

RECORDS: tuple[type[Record], ...] = (
    *(Candidate, Report, Metric, Trial, Charge, Efficiency),
    *(Verdict, Insight, Claim, NoiseLevel, Ablation, EarlyStop, RankCorrelation),
    *(Paper, Entry, Retrieval, Origin, Vector),
    *(Synthesis, Calibration, LlmCall, Reward, Event),
)
