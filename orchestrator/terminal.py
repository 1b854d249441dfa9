"""What a person sees: the choices, live progress, the result. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agents.brief import Member
from cognition.folders import joined
from cognition.records import (
    Candidate,
    Claim,
    Event,
    FailureKind,
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
from orchestrator.outbox import REFUSED, TAKEN_AGAIN
from orchestrator.population import CLIMBED
from orchestrator.prediction import correlation_line
from orchestrator.result import Result
from orchestrator.rows import RESUMED, STOPPING
from orchestrator.tracking import resolved_mode

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
            self.console.print(f"{_clock(campaign.elapsed_s)}  {line}", markup=False)

    def tick(self, campaign: Campaign, running: Sequence[RunningTrial]) -> None:
        if self._live is not None:
            self._live.update(_progress(campaign, running, self._now()))
        elif campaign.elapsed_s - self._last_plain > _PLAIN_EVERY_S:
            self._last_plain = campaign.elapsed_s
            clock = _clock(campaign.elapsed_s)
            self.console.print(f"{clock}  {' | '.join(_summary(campaign, running, self._now()))}", markup=False)

    def ended(self, campaign: Campaign, result: Result) -> None:
        self.failed()
        show_result(self.console, result, campaign.settings.budget.candidates)

    def failed(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()


def show_result(console: Console, result: Result, num_candidates: int) -> None:
    """Leaderboard, differences to the best baseline by stage, where the files are, two queries to try."""
    if result.resumed_finished:
        console.print(
            f"\n{result.folder} is finished ({num_candidates} candidates); its results again. "
            "A larger budget.candidates extends it, run.fresh=true starts another.",
            markup=False,
        )
    for fragment in result.set_aside:
        console.print(f"set aside   damaged fragment {fragment.file} ({fragment.reason})", markup=False)
    console.print(_leaderboard(result))
    for stage in result.stages[1:]:
        claims = [claim for claim in result.claims if claim.stage == stage]
        if claims:
            console.print(_claims(claims, result))
    for correlation in result.correlations:
        console.print(f"ranks       {correlation_line(correlation)}", markup=False)
    if result.claims:
        console.print(_answer(result), markup=False)
    slot_hours = sum(row.settled.slot_hours for row in result.spend)
    gpu_hours = sum(row.settled.gpu_hours for row in result.spend)
    gpus = f"{figure(gpu_hours)} GPU-hours, " if gpu_hours else ""
    place = shlex.quote(str(result.folder))
    console.print(
        f"\nspent       {slot_hours * 60:.1f} slot-minutes, {gpus}{_clock(result.elapsed_s)} on the clock, "
        f"{_money(result)}\n"
        f"files       {joined(result.folder, 'lineage')} (Parquet), {joined(result.folder, 'config.yaml')}\n"
        f'ask         python -m cognition sql "SELECT * FROM leaderboard LIMIT 10" --run {place}\n'
        f'            python -m cognition sql "SELECT arm, count(*), min(loss) FROM candidates JOIN trials '
        f"USING (candidate_id) WHERE stage = '{result.stages[0]}' GROUP BY arm\" --run {place}",
        markup=False,
    )
    if result.stopped_by:
        told = result.stopped_by
        if "command goes on" not in told and "goes on from here" not in told:
            told += ": the same command goes on from here"
        console.print(f"stopped     {told}", markup=False)


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
            f"about {_clock(expected.seconds)}, {_hours(expected)} and {expected.usd:.2f} USD {rest}",
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


def _money(result: Result) -> str:
    """Dollars for models, and what is still reserved for calls that nobody answered."""
    usd = sum(row.settled.usd for row in result.spend)
    held = sum(row.held.usd for row in result.spend)
    num_held = sum(row.num_held for row in result.spend)
    text = f"{usd:.2f} USD"
    if num_held:
        text += f" and {held:.2f} USD reserved for {num_held} calls without an answer"
    return text


def _line(campaign: Campaign, record: Record) -> str | None:
    match record:
        case Event() if record.kind == CLIMBED:
            return f"climbed   {_name(campaign, record.subject)}  to {record.detail}"
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
            return f"refused   {record.number:>4}.{record.attempt}  {record.kind.value}: {_short(record.detail)}"
        case Trial(failure=FailureKind.unpromising):
            name = _name(campaign, record.candidate_id)
            return f"stopped   {name}  {record.stage} unpromising: {_short(record.detail)}"
        case Trial() if not record.succeeded:
            failure = record.failure.value if record.failure else record.status.value
            return (
                f"failed    {_name(campaign, record.candidate_id)}  {record.stage} {failure}: {_short(record.detail)}"
            )
        case Trial() if record.stage != campaign.settings.ladder.first.name:
            name = _name(campaign, record.candidate_id)
            return f"{record.stage:<8}  {name}  seed {record.seed} {_text(record.split)} loss {record.loss:.4f}"
        case Verdict() if record.fitness is not None:
            flag = "  suspicious" if record.suspicious else ""
            name = _name(campaign, record.candidate_id)
            return f"scored    {name}  loss {record.loss:.4f} fitness {record.fitness:.3f}{flag}"
        case _:
            return None


def _name(campaign: Campaign, candidate_id: str) -> str:
    candidate = campaign.population.candidate(candidate_id)
    return f"{candidate.number:>4}  {_short(candidate.name, 44):<44}" if candidate else candidate_id


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
    return f"{_clock(campaign.elapsed_s)} elapsed, about {_clock(left)} left"


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
            trial.stage, Text(_short(candidate.name if candidate else "", 44)), f"{trial.step}/{stage.steps}", loss
        )
    more = [Text(f"and {len(running) - _MOST_SHOWN:,} more")] if len(running) > _MOST_SHOWN else []
    return Group(*(Text(line, no_wrap=True) for line in _summary(campaign, running, now)), table, *more)


def _leaderboard(result: Result) -> Table:
    table = Table(title=f"Leaderboard ({result.stages[0]})", title_justify="left")
    for column in ("#", "candidate", "arm", "fitness", "val loss", "recall", "params", "MFLOPs/token"):
        table.add_column(column, justify="left" if column in ("candidate", "arm") else "right")
    ranked = sorted(
        (m for m in result.members if m.fitness is not None), key=lambda m: (-(m.fitness or 0), m.candidate.number)
    )
    shown = ranked[:8] + [m for m in ranked[8:] if m.candidate.arm == BASELINE_ARM]
    for member in shown:
        table.add_row(*_cells(member))
    return table


def _cells(member: Member) -> Sequence[str | Text]:
    report, verdict = member.report, member.verdict
    assert verdict is not None
    # Counted in the saved weights, by a process that ran nothing of the candidate's; the report's is its own word.
    counted = next((t.num_parameters for t in member.trials if t.stage == verdict.stage and t.num_parameters), None)
    recall = f"{verdict.benchmark:.2f}" if verdict.benchmark is not None else "-"
    return (
        str(member.candidate.number),
        Text(_short(member.candidate.name, 48)),
        member.candidate.arm,
        f"{verdict.fitness:.3f}" if verdict.fitness is not None else "-",
        f"{verdict.loss:.4f}" if verdict.loss is not None else "-",
        recall,
        f"{counted:,}" if counted else "-",
        f"{report.flops_per_token / 1e6:.2f}" if report and report.flops_per_token else "-",
    )


def _claims(claims: Sequence[Claim], result: Result) -> Table:
    """The claims of one stage."""
    names = {m.candidate.candidate_id: m.candidate for m in result.members}
    title = f"{claims[0].stage.capitalize()} (fresh seeds, {_text(claims[0].split)} data)"
    table = Table(title=title, title_justify="left")
    for column in ("#", "candidate", "seeds", "loss", "baseline", "difference [95% interval]"):
        table.add_column(column, justify="left" if column == "candidate" else "right")
    for claim in sorted(claims, key=lambda claim: claim.difference):
        candidate = names.get(claim.candidate_id)
        table.add_row(
            str(candidate.number) if candidate else "",
            Text(_short(candidate.name, 48) if candidate else claim.candidate_id),
            str(claim.num_seeds),
            _spread(claim.mean_loss, claim.std_loss),
            _spread(claim.baseline_mean_loss, claim.baseline_std_loss),
            _interval(claim),
        )
    return table


def _answer(result: Result) -> str:
    """The best claim at the highest stage that has any."""
    highest = max((claim.stage for claim in result.claims), key=result.stages.index)
    claims = [claim for claim in result.claims if claim.stage == highest]
    best = min(claims, key=lambda claim: claim.difference)
    names: dict[str, Candidate] = {m.candidate.candidate_id: m.candidate for m in result.members}
    candidate, baseline = names[best.candidate_id], names[best.baseline_id]
    doubt = ""
    if best.low is None or best.high is None:
        doubt = ": more seeds are needed to tell"
    elif best.low <= 0 <= best.high:
        doubt = ": the interval holds zero, more seeds are needed to tell"
    return (
        f"\nBest at {highest}: candidate {candidate.number} ({_short(candidate.name)}), {_text(best.split)} loss "
        f"{_spread(best.mean_loss, best.std_loss)} over {best.num_seeds} seeds; difference to the best baseline "
        f"{_short(baseline.name)}: {_interval(best)} nats per token{doubt}. "
        f"It is the best of {len(claims)} there; the interval is not widened for that choice."
    )


def _text(split: str) -> str:
    return "held-out" if split == "heldout" else split


def _spread(mean: float, std: float | None) -> str:
    return f"{mean:.4f} ± {std:.4f}" if std is not None else f"{mean:.4f}"


def _interval(claim: Claim) -> str:
    if claim.low is None or claim.high is None:
        return f"{claim.difference:+.4f} (one seed: no interval)"
    return f"{claim.difference:+.4f} [{claim.low:+.4f}, {claim.high:+.4f}]"


def _short(text: str, width: int = 100) -> str:
    """One printable line: candidates write their own names and tracebacks, and may not drive the terminal."""
    flat = "".join(letter if letter.isprintable() else " " for letter in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
