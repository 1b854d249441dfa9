"""The Judge: turns a report and its trials into a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.brief import Member, Noise
from agents.fitness import FitnessSettings, Measured, fitness, too_good
from agents.opinion import OpinionJudge, Opinions, quality_of
from cognition.records import Candidate, Report, Trial, Verdict


def measured_of(trials: Sequence[Trial], report: Report | None) -> Measured:
    """Means over finished trials, and what the gate counted.

    Raises ValueError when a trial is not finished: a mean over the seeds that survived would flatter.
    """
    losses = [trial.loss for trial in trials if trial.succeeded and trial.loss is not None]
    if not losses or len(losses) != len(trials):
        raise ValueError(f"{len(losses)} of {len(trials)} trials have a loss; figures need all of them, at least one")
    benchmarks = [trial.benchmark for trial in trials if trial.benchmark is not None]
    return Measured(
        loss=sum(losses) / len(losses),
        benchmark=sum(benchmarks) / len(benchmarks) if len(benchmarks) == len(trials) else None,
        flops_per_token=report.flops_per_token if report else None,
        state_bytes=report.state_bytes if report and _state_is_measured(report) else None,
        novelty=report.nearest_distance if report else None,
    )


class Judge:
    """Scores one exploration by the fitness function; states no fact that was not measured.

    `opinions` asks a model for what is not measured; without it, or with `opinion_share` 0, nobody is asked.
    """

    def __init__(self, settings: FitnessSettings | None = None, opinions: OpinionJudge | None = None) -> None:
        self.settings = settings or FitnessSettings()
        self._opinions = opinions

    async def opinions(
        self, candidate: Candidate, *, purpose: str = "assess", number: int | None = None, horizon: int | None = None
    ) -> Opinions:
        """The model judge's samples; none where nobody is asked."""
        if self._opinions is None or self.settings.opinion_share == 0:
            return Opinions(samples=())
        return await self._opinions.opinions(candidate, purpose=purpose, number=number, horizon=horizon)

    async def assess(
        self,
        candidate: Candidate,
        report: Report,
        trials: Sequence[Trial],
        reference: Member,
        noise: Noise | None = None,
        best: float | None = None,
        *,
        horizon: int | None = None,
        now: float = 0.0,
    ) -> Verdict:
        """The verdict on trials of one stage against the reference baseline's finished trials of the same stage.

        A trial without a result leaves the fitness None, with the reason. A loss that beats the best baseline by more
        than the leak margin, or far beyond the seeds' noise, is marked suspicious: see `reconsider`.

        Args:
            noise: of the founders' losses over their seeds, where it is known.
            best: loss of the best baseline, in nats per token; None: the reference is the only one that is known.

        Raises:
            ValueError: no trials, trials of several stages, or a reference without finished trials of that stage.
        """
        stages = {trial.stage for trial in trials}
        if len(stages) != 1:
            raise ValueError(f"trials of stages {sorted(stages)} for {candidate.candidate_id}; judge exactly one stage")
        stage = stages.pop()
        if unfinished := [trial for trial in trials if not trial.succeeded or trial.loss is None]:
            return _withheld(candidate, stage, "; ".join(map(_outcome, unfinished)), now)
        yardstick = measured_of([trial for trial in reference.trials if trial.stage == stage], reference.report)
        measured = measured_of(trials, report)
        if yardstick.benchmark is not None and measured.benchmark is None:
            return _withheld(candidate, stage, "no benchmark, while the reference has one", now)
        opinions = await self.opinions(candidate, horizon=horizon)
        if opinions.middle is not None:
            measured = replace(measured, opinion=quality_of(opinions.middle))
        score = fitness(measured, yardstick, self.settings)
        best = yardstick.loss if best is None else min(best, yardstick.loss)
        suspicious = too_good(measured.loss, best, self.settings, noise.sigma if noise else None)
        gain = (yardstick.loss - measured.loss) / yardstick.loss
        reason = (
            f"loss {measured.loss:.4f} against {yardstick.loss:.4f} of {reference.candidate.name} ({gain:+.1%} gain)"
        )
        if suspicious:
            reason += f"; further below the best baseline ({best:.4f}) than is believed at once"
        return Verdict(
            candidate_id=candidate.candidate_id,
            number=candidate.number,
            stage=stage,
            fitness=score.value,
            loss=measured.loss,
            loss_term=score.loss_term,
            benchmark=measured.benchmark,
            benchmark_term=score.benchmark_term,
            quality_term=score.quality_term,
            quality_source=_source(opinions, self.settings),
            cost_quality=score.cost_quality,
            state_quality=score.state_quality,
            novelty_quality=score.novelty_quality,
            loss_weight=score.loss_weight,
            benchmark_weight=score.benchmark_weight,
            quality_weight=score.quality_weight,
            opinion=opinions.middle,
            opinion_spread=opinions.spread,
            num_opinions=len(opinions.samples),
            suspicious=suspicious,
            reason=reason,
            created_at=now,
        )

    async def reconsider(self, verdict: Verdict, report: Report) -> Verdict:
        """A suspicious verdict after the candidate was examined again, at longer lengths: confirmed or withheld."""
        if report.refused:
            refused = f"{verdict.reason}; examined again and refused: {report.detail}"
            return replace(verdict, fitness=None, reason=refused)
        lengths = "examined again at longer lengths and passed, as did the audit on the trained weights"
        return replace(verdict, reason=f"{verdict.reason}; {lengths}")


def _state_is_measured(report: Report) -> bool:
    """By decoding step by step, or by seeing that nothing is carried; a mixer's own statement counts for nothing."""
    return any(item.name in ("decode", "position_independence") and item.passed for item in report.properties)


def _source(opinions: Opinions, settings: FitnessSettings) -> str:
    if opinions.middle is None:
        return "measured"
    return "llm" if settings.opinion_share == 1 else "both"


def _outcome(trial: Trial) -> str:
    kind = f" ({trial.failure.value})" if trial.failure else ""
    detail = f": {trial.detail}" if trial.detail else ""
    return f"seed {trial.seed} {trial.status.value}{kind}{detail}"


def _withheld(candidate: Candidate, stage: str, reason: str, now: float) -> Verdict:
    return Verdict(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        stage=stage,
        fitness=None,
        reason=reason,
        created_at=now,
    )
