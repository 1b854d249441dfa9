"""Who is stopped, and who has been told: the state beside the scheduler, without Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from cognition.records import EarlyStop, FailureKind, Metric, Trial
from models.scale import TEXT
from models.trial import TrialJob
from orchestrator.early_stopping.book import CurveBook
from orchestrator.early_stopping.policies import Decision, decide, is_control
from orchestrator.early_stopping.recalled import Recalled
from orchestrator.early_stopping.settings import NONE, StoppingSettings


class StoppingBoard:
    """Asks each stage's policy at each point of the text, and tells every decision once. Safe for use by threads.

    Args:
        policies: by stage; a stage without one is left alone, and none of its curves are kept.
        num_founders: candidates with lower numbers are never stopped: baselines are what others are compared with.
        told: takes each decision, controls included, in the thread that brought the point.
        now: seconds since the epoch, for the rows.
    """

    def __init__(
        self,
        policies: Mapping[str, StoppingSettings],
        num_founders: int,
        told: Callable[[EarlyStop], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._policies = {stage: policy for stage, policy in policies.items() if policy.policy != NONE}
        self._num_founders = num_founders
        self._told = told
        self._now = now
        self._lock = threading.Lock()
        # By stage and seed: trials of one seed share the order of their data, those of others rise and fall elsewhere.
        self._books: dict[tuple[str, int], CurveBook] = {}
        self._decided: dict[str, EarlyStop] = {}

    def recall(self, past: Recalled) -> None:
        """Take in what earlier starts left in the store, before the first point of this one.

        What was decided then is not told again, and a trial that was cut off after it ends the same.
        """
        with self._lock:
            self._decided |= {stop.trial_id: stop for stop in past.decided}
            for trial in past.trials:
                if (book := self._book(trial.stage, trial.seed)) is not None:
                    for step, loss in past.curves.get(trial.trial_id, ()):
                        book.add_point(trial.trial_id, past.numbers[trial.candidate_id], step, loss)
                    self._end(trial)

    def point(self, job: TrialJob, metric: Metric, number: int, horizon: int | None, *, again: bool = False) -> bool:
        """Note a point of a trial under way; True: it has to stop now.

        Args:
            number: the candidate's.
            horizon: only peers up to this number count; None: all that are known at this moment.
            again: the trial goes on from a checkpoint and tells of an earlier attempt's points: they were judged then.
        """
        policy, book = self._policies.get(job.stage.name), self._book(job.stage.name, job.seed)
        if policy is None or book is None or metric.task != TEXT:
            return False
        with self._lock:
            book.add_point(job.trial_id, number, metric.step, metric.loss)
            if number < self._num_founders or again:
                return False
            known = self._decided.get(job.trial_id)
            if known is None:
                if not policy.first_look * job.stage.steps <= metric.step < job.stage.steps:
                    return False  # as the policy would say, without asking all peers
                decision = decide(policy, book.curve(job.trial_id), job.stage.steps, book.peers(job.trial_id, horizon))
                if not decision.stop:
                    return False
                known = self._decided[job.trial_id] = self._row(job, policy, decision)
                self._told(known)
            stops = not known.spared and metric.step >= known.step
            if stops:
                book.stop(job.trial_id)
            return stops

    def ended(self, trial: Trial) -> None:
        """Note how a trial ended by itself."""
        with self._lock:
            self._end(trial)

    def _end(self, trial: Trial) -> None:
        book = self._book(trial.stage, trial.seed)
        if book is None:
            return
        if trial.succeeded and trial.loss is not None:
            book.finish(trial.trial_id, trial.loss)
        elif trial.failure is FailureKind.unpromising:
            book.stop(trial.trial_id)
        else:
            book.forget(trial.trial_id)

    def _book(self, stage: str, seed: int) -> CurveBook | None:
        policy = self._policies.get(stage)
        if policy is None:
            return None
        return self._books.setdefault((stage, seed), CurveBook(self._num_founders, policy.most_peers))

    def _row(self, job: TrialJob, policy: StoppingSettings, decision: Decision) -> EarlyStop:
        assert decision.bar is not None
        return EarlyStop(
            trial_id=job.trial_id,
            candidate_id=job.candidate_id,
            stage=job.stage.name,
            policy=policy.policy,
            step=decision.step,
            loss=decision.loss,
            bar=decision.bar,
            chance=decision.chance,
            spared=is_control(job.trial_id, policy.controls),
            detail=decision.reason,
            created_at=self._now(),
        )
