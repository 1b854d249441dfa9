"""What a person sees: the choices, live progress, the result. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cognition.records import (
    Claim,
    Event,
    FailureKind,
    NoiseLevel,
    RankCorrelation,
    Record,
    Report,
    Trial,
    Verdict,
)
from orchestrator.burn import Plan, burn_of, figure
from orchestrator.campaign import Campaign
from orchestrator.config import Settings
from orchestrator.early_stopping.calibration import expected_rate
from orchestrator.early_stopping.settings import NONE
from orchestrator.estimate import Estimate, estimate
from orchestrator.facts import in_words
from orchestrator.founders import BASELINE_ARM
from orchestrator.language_steps import DRIFT
from orchestrator.noise import told_before
from orchestrator.outbox import REFUSED, TAKEN_AGAIN
from orchestrator.population import CLIMBED
from orchestrator.prediction import correlation_line
from orchestrator.result import Result
from orchestrator.rows import RESUMED, STOPPING
from orchestrator.shown_claims import Names, claim_line, names_of, noise_line, smallest_in_words
from orchestrator.shown_result import show_result
from orchestrator.tracking import resolved_mode
from orchestrator.verified import SEEDED
from orchestrator.wording import clock, short, spoken

if TYPE_CHECKING:
    from orchestrator.board import RunningTrial

KILLED = (
    *(FailureKind.nonfinite, FailureKind.diverged, FailureKind.timeout, FailureKind.leak, FailureKind.memory),
    *(FailureKind.processes, FailureKind.disk, FailureKind.slow, FailureKind.no_progress, FailureKind.too_good),
    FailureKind.silent,
)
_PLAIN_EVERY_S = 20.0
_MOST_SHOWN = 32  # of the trials under way: the oldest
_PLAIN_WIDTH = 140


def terminal_console() -> Console:
    """The terminal as it is; files and pipes get a width that tables fit in."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=_PLAIN_WIDTH)


class Terminal:
    """The `View` of the command line."""

    def __init__(self, console: Console | None = None, now: Callable[[], float] = time.time) -> None:
        self.console = console or terminal_console()
        self._now = now  # seconds since the epoch
        self._live: Live | None = None
        self._last_plain = -math.inf

    def started(self, campaign: Campaign) -> None:
        for name, text in _choices(campaign):
            self.console.print(f"{name:<12}{text}", markup=False)
        if self.console.is_terminal:
            self._live = Live(Text("starting"), console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def recorded(self, campaign: Campaign, record: Record) -> None:
        line = _line(campaign, record)
        if line:
            self.console.print(f"{clock(campaign.elapsed_s)}  {line}", markup=False)

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None:
        if self._live is not None:
            self._live.update(_progress(campaign, running, self._now()))
        elif campaign.elapsed_s - self._last_plain > _PLAIN_EVERY_S:
            self._last_plain = campaign.elapsed_s
            elapsed = clock(campaign.elapsed_s)
            self.console.print(f"{elapsed}  {' | '.join(_summary(campaign, running, self._now()))}", markup=False)

    def ended(self, campaign: Campaign, result: Result) -> None:
        self.failed()
        show_result(self.console, result, campaign.settings.budget.candidates)

    def failed(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()


def _choices(campaign: Campaign) -> Sequence[tuple[str, str]]:
    settings, cluster = campaign.settings, campaign.cluster
    assert cluster is not None
    found = any(record.kind == RESUMED for record in campaign.population.events)
    total = sum(settings.arms.weights.values())
    arms = ", ".join(f"{arm} {weight / total:.0%}" for arm, weight in settings.arms.weights.items() if weight > 0)
    gpus = f"{cluster.num_gpus:g} GPUs in the cluster" if cluster.num_gpus else "no GPU in the cluster"
    mode = resolved_mode(settings.tracking)
    wandb = {
        "online": "W&B online",
        "offline": f"W&B offline in {campaign.folder.scratch}/wandb (no WANDB_API_KEY; tracking=none switches it off)",
        "none": "none",
    }[mode]
    expected = estimate(settings, cluster.num_slots, campaign.population)
    rest = "left of it" if found else "in all"
    return (
        ("campaign", f"{settings.campaign.name} in {campaign.folder.place}" + (" (goes on)" if found else "")),
        ("researchers", f"{arms} (arms=auto|llm|ablation|grammar|random|inbox|mix to choose)"),
        ("models", models_line(settings)),
        ("scale", f"{settings.scale.name}: {gpus} (scale=cpu|tiny to choose)"),
        ("ray", f"{cluster.description}, {cluster.num_slots} trial slots (cluster.address, cluster.slots)"),
        ("sandbox", f"{in_words(campaign.layers)} (sandbox.require=full to insist, docs/trust.md)"),
        ("tracking", wandb),
        ("mode", "deterministic: one seed gives one campaign" if settings.deterministic else "fastest order"),
        (
            "estimate",
            f"trials: {', '.join(f'{num} {stage}' for stage, num in expected.trials.items())}; "
            f"about {clock(expected.seconds)}, {_hours(expected)} and {expected.usd:.2f} USD {rest}",
        ),
        ("stopping", _stopping(settings)),
        ("budget", f"{settings.budget.in_words} at most (budget.candidates, budget.wall, ... to change)"),
    )


def _stopping(settings: Settings) -> str:
    """Which policy ends hopeless trials at each stage, and what is to be expected of it."""
    told = [
        f"{name}: {stage.stopping.policy}, {expected_rate(stage.stopping).in_words}"
        for name, stage in settings.stages.items()
        if stage.stopping.policy != NONE
    ]
    return "; ".join(told or ["none"]) + " (stages.NAME.stopping.policy, docs/early_stopping.md)"


def models_line(settings: Settings) -> str:
    """Who plays which role."""
    llm = settings.llm
    if llm.transcript is not None:
        return f"none is asked: every reply is read from {llm.transcript} (llm.transcript)"
    if not llm.models:
        return "none: every role is built in (a key or OPENAI_API_BASE in the environment, or llm=..., brings one)"
    played: dict[str, list[str]] = {}
    for role, known in llm.roles.items():
        names = [llm.models[name].model for name, weight in known.models.items() if weight > 0]
        played.setdefault(", ".join(sorted(names)) or "built in", []).append(role)
    told = "; ".join(f"{', '.join(roles)}: {names}" for names, roles in played.items())
    bases = sorted({model.api_base for model in llm.models.values() if model.api_base})
    return f"{told}{' at ' + ', '.join(bases) if bases else ''} (llm=none|local|openai|anthropic|gemini to choose)"


def _hours(expected: Estimate) -> str:
    """Hours of GPUs where trials take some, else of slots."""
    if expected.gpu_hours:
        return f"{figure(expected.gpu_hours)} GPU-hours"
    return f"{figure(expected.slot_hours)} slot-hours"


def _line(campaign: Campaign, record: Record) -> str | None:
    match record:
        case Event() if record.kind == CLIMBED:
            return f"climbed   {_name(campaign, record.subject)}  to {record.detail}{_before(campaign, record.detail)}"
        case Event() if record.kind == SEEDED:
            return f"seed      {_name(campaign, record.subject)}  one more at {record.detail}"
        case Claim() if record.deciding:
            return f"claim     {claim_line(record, _names(campaign, record))}"
        case NoiseLevel() if record.metric == "loss":
            return f"noise     {noise_line(record)}"
        case RankCorrelation():
            return f"ranks     {correlation_line(record)}"
        case Event() if record.kind == STOPPING:
            return f"stopping  {record.detail}; asked again, it stops at once"
        case Event() if record.kind == DRIFT:
            return f"judge     its scores have moved since the first calibration: {record.detail}"
        case Event() if record.kind == REFUSED:
            return f"store     cannot be written: {record.detail}"
        case Event() if record.kind == TAKEN_AGAIN:
            return f"store     written again {record.detail}"
        case Report() if record.refused:
            return f"refused   {record.number:>4}.{record.attempt}  {record.kind.value}: {short(record.detail)}"
        case Trial(failure=FailureKind.unpromising):
            name = _name(campaign, record.candidate_id)
            return f"stopped   {name}  {record.stage} unpromising: {short(record.detail)}"
        case Trial() if not record.succeeded:
            failure = record.failure.value if record.failure else record.status.value
            return f"failed    {_name(campaign, record.candidate_id)}  {record.stage} {failure}: {short(record.detail)}"
        case Trial() if record.stage != campaign.settings.ladder.first.name:
            name = _name(campaign, record.candidate_id)
            return f"{record.stage:<8}  {name}  seed {record.seed} {spoken(record.split)} loss {record.loss:.4f}"
        case Verdict() if record.fitness is not None:
            flag = "  suspicious" if record.suspicious else ""
            name = _name(campaign, record.candidate_id)
            return f"scored    {name}  loss {record.loss:.4f} fitness {record.fitness:.3f}{flag}"
        case _:
            return None


def _names(campaign: Campaign, claim: Claim) -> Names:
    found = (campaign.population.candidate(one) for one in (claim.candidate_id, claim.baseline_id))
    return names_of(one for one in found if one is not None)


def _before(campaign: Campaign, name: str) -> str:
    """With the first who climbs to a stage: what its seeds will tell, before they are paid for."""
    if len(campaign.population.at(name)) > 1:
        return ""
    settings = campaign.settings
    stage = settings.scale.stage(name)
    known = told_before(settings, campaign.population, stage)
    if known is None:
        return ""
    return f"; by the noise of {known.measured_at} its {smallest_in_words(len(stage.seeds), known.smallest_difference)}"


def _name(campaign: Campaign, candidate_id: str) -> str:
    candidate = campaign.population.candidate(candidate_id)
    return f"{candidate.number:>4}  {short(candidate.name, 44):<44}" if candidate else candidate_id


def _counts(campaign: Campaign) -> dict[str, int]:
    tallies = campaign.population.tallies
    killed = sum(tallies.failures[kind] for kind in KILLED)
    return {
        "finished": tallies.num_finished,
        "rejected": tallies.num_refusals,
        "stopped": tallies.failures[FailureKind.unpromising],
        "killed": killed,
        "failed": tallies.failures.total() - killed - tallies.failures[FailureKind.unpromising],
    }


def _best(campaign: Campaign) -> str:
    best = campaign.population.best().values()
    losses = [(m.verdict.loss, m.candidate) for m in best if m.verdict and m.verdict.loss is not None]
    own = min((p for p in losses if p[1].arm != BASELINE_ARM), key=lambda p: (p[0], p[1].number), default=None)
    rival = next((p for p in losses if p[1].arm == BASELINE_ARM), None)
    if own is None or rival is None:
        return "best -"
    return f"best {own[0]:.4f} (candidate {own[1].number}) against {rival[0]:.4f} ({rival[1].name})"


def _times(campaign: Campaign) -> str:
    slots = campaign.cluster.num_slots if campaign.cluster else 1
    left = estimate(campaign.settings, slots, campaign.population).seconds
    return f"{clock(campaign.elapsed_s)} elapsed, about {clock(left)} left"


def _summary(campaign: Campaign, running: Sequence[RunningTrial], now: float) -> Sequence[str]:
    plan = Plan.of(campaign.settings, campaign.population)
    burn = str(burn_of(plan, campaign.population, campaign.started_at, now))
    counts = " ".join(f"{name} {count}" for name, count in _counts(campaign).items())
    slots = f"slots {len(running)}/{campaign.cluster.num_slots if campaign.cluster else 0}"
    return (
        f"{slots} in flight {campaign.flow.num_open} {counts}",
        _best(campaign),
        _times(campaign),
        burn,
    )


def _progress(campaign: Campaign, running: Sequence[RunningTrial], now: float) -> Group:
    table = Table(box=None, padding=(0, 2), show_header=False)
    for trial in running[:_MOST_SHOWN]:
        candidate = campaign.population.candidate(trial.trial_id.split("-")[0])
        stage = campaign.settings.scale.stage(trial.stage)
        loss = f"{trial.loss:.3f}" if trial.loss is not None else "-"
        table.add_row(
            trial.stage, Text(short(candidate.name if candidate else "", 44)), f"{trial.step}/{stage.steps}", loss
        )
    more = [Text(f"and {len(running) - _MOST_SHOWN:,} more")] if len(running) > _MOST_SHOWN else []
    return Group(*(Text(line, no_wrap=True) for line in _summary(campaign, running, now)), table, *more)
