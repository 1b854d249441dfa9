"""One trial of a candidate, from a Ray worker: children do the work, this side keeps order and time.

Standard library, numpy and our torch-free modules only. What training children say is telemetry (Metric); the figures
of a Trial come from the sealed evaluation (models.sandbox.sealed). Examinations are handed on from models.sandbox.exam.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

from cognition.records import FailureKind, Metric, Trial, TrialStatus
from models import canary, probes
from models.anomalies import anomaly, silence_s, unbelievable
from models.checkpoints import Checkpoint
from models.data import STDLIB, Batch, PackedTokens, Tokens, layout_of, load_corpus, windows
from models.kept_weights import keep
from models.minimal_pairs import PAIRS, pair_set
from models.progress import Progress
from models.sandbox import wire
from models.sandbox.exam import ExamJob, examine, source_problem
from models.sandbox.parent import Child, ForkServer, SandboxError, lent
from models.sandbox.sealed import Sealed, Subject, TrialError, commitment, evaluate, expect, scores_of, talking
from models.sandbox.wire import Array, Json, Message
from models.saved_trial import SavedTrial
from models.scale import CANARY, TEXT
from models.steady_clock import SteadyClock
from models.trial_job import TrialJob

__all__ = ["ExamJob", "TrialJob", "TrialRun", "examine"]

_STATE_SLACK_BYTES = 64 << 20  # buffers, beside the parameters that the budget bounds
_CHECKPOINT_FACTOR = 3  # weights and AdamW's two moments


class TrialRun:
    """A trial under way. `advance` belongs to one thread; `cancel` and `stop` may be called from any."""

    def __init__(self, job: TrialJob, server: ForkServer) -> None:
        self._job = job
        self._server = server
        self._progress = Progress()
        self._saved = SavedTrial(job.checkpoints, job.trial_id, job.digest)
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._ending: tuple[TrialStatus, FailureKind | None, str] | None = None
        self._trial: Trial | None = None
        self._clock = SteadyClock()
        self._started_at = self._clock.now()
        self._deadline = 0.0
        self._unseen = ""  # digest of the evaluation's text
        self._taking_up = False
        self._points = self._run()

    @property
    def taking_up(self) -> bool:
        """The point that was handed out last is one of an earlier attempt, told again."""
        return self._taking_up

    @property
    def started_at(self) -> float:
        """Seconds since the epoch when it took its slot, which is when it was made."""
        return self._started_at

    @property
    def sealed_s(self) -> float:
        """Seconds that the sealed evaluation took; 0 before it ended."""
        since = self._progress.sealed_since
        return self._trial.finished_at - since if self._trial is not None and since else 0.0

    @property
    def weights(self) -> Mapping[str, Array]:
        """What the text's training left, once that is done; the candidate's own word, as all of its process."""
        return self._progress.weights.get(TEXT, {})

    def advance(self) -> Metric | Trial:
        """Wait for the next point of the curve; the Trial ends it, and is handed out again after that.

        A failure is a Trial. Raises ValueError for a corpus too small for the stage, and SandboxError when no fork
        server can be started.
        """
        if self._trial is not None:
            return self._trial
        try:
            return next(self._points)
        except StopIteration as end:
            trial: Trial = end.value
            self._trial = trial
            return trial

    def cancel(self) -> None:
        """End the trial now as failed, cancelled; nothing happens when it has ended."""
        self._interrupt(TrialStatus.failed, FailureKind.cancelled, "cancelled")

    def stop(self, reason: str) -> None:
        """End the trial now as stopped, by a policy that says why."""
        self._interrupt(TrialStatus.stopped, None, reason)

    def _interrupt(self, status: TrialStatus, failure: FailureKind | None, detail: str) -> None:
        with self._lock:
            if self._ending is None:
                self._ending = (status, failure, detail)
            child = self._child
        if child is not None:
            child.kill()

    def _run(self) -> Generator[Metric, None, Trial]:
        trial = yield from self._attempt()
        self._saved.end(trial)
        unkept, progress, job = "", self._progress, self._job
        if trial.succeeded and job.keeps is not None and progress.canary is not None:
            unkept = keep(job.keeps, job.trial_id, job.digest, self.weights, progress.canary, trial.ffn_width)
        return replace(trial, detail="\n".join(filter(None, (trial.detail, self._saved.problem, unkept))))

    def _attempt(self) -> Generator[Metric, None, Trial]:
        self._progress.elapsed_from = self._started_at
        if (problem := self._corpus_problem()) is not None:
            return self._trial_of(TrialStatus.failed, failure=FailureKind.corpus, detail=problem)
        self._server.start()
        text = self._text_windows()
        self._unseen = hashlib.blake2b(text.inputs.tobytes(), digest_size=16).hexdigest()
        before = self._saved.load()
        try:
            if problem := source_problem(self._job.source):
                raise TrialError(FailureKind.error, problem)
            if before is not None:
                self._taking_up = True
                yield from self._take_up(before)
                self._taking_up = False
            spent_s = before.spent_s if before is not None else 0.0
            self._deadline = time.monotonic() + self._job.stage.deadline_s - spent_s
            if before is None:
                yield from self._canary()
            tasks = (TEXT, *(spec.name for spec in self._job.stage.probes))
            yield from self._train(tasks[tasks.index(before.task) :] if before is not None else tasks, before)
            self._progress.sealed_since = self._clock.now()
            sets = {TEXT: text} | self._probe_sets()
            sealed = self._evaluate(sets, self._job.stage.audit_positions, self._pairs())
            if found := unbelievable(sealed.scores[TEXT].loss, self._job.pace, self._job.anomalies):
                raise TrialError(found.kind, found.detail)
        except TrialError as error:
            status = TrialStatus.stopped if error.stopped else TrialStatus.failed
            status, failure, detail = self._ending or (status, error.kind, error.detail)
            return self._trial_of(status, failure=failure, detail=detail)
        return self._trial_of(TrialStatus.finished, sealed=sealed)

    def _corpus_problem(self) -> str | None:
        """Why this machine's text cannot serve: losses on another one would not compare."""
        job, here = self._job, socket.gethostname()
        try:
            found = load_corpus(job.data).digest
        except (ValueError, OSError) as error:
            return f"the corpus cannot be read on {here}: {error}"
        if job.corpus and found != job.corpus:
            return f"the corpus on {here} is another one ({found[:12]}, the campaign's is {job.corpus[:12]})"
        return None

    def _text_windows(self) -> Batch:
        """The same for every candidate and seed: paired differences then vary less."""
        stage = self._job.stage
        tokens = load_corpus(self._job.data).split(stage.split)
        return windows(tokens, stage.eval_windows, stage.length, self._job.data.seed)

    def _probe_sets(self) -> dict[str, Batch]:
        """Drawn by the weights handed in and by text that no training child has seen: it cannot know the items."""
        weights = self._progress.weights
        return {
            spec.name: probes.eval_set(spec, self._draw(spec.name, weights[spec.name]))
            for spec in self._job.stage.probes
        }

    def _pairs(self) -> Batch | None:
        """Drawn like a probe's items, by the text's weights."""
        spec, data = self._job.stage.minimal_pairs, self._job.data
        if spec is None:
            return None
        seed = self._draw(PAIRS, self._progress.weights[TEXT])
        return pair_set(spec.texts(seed, is_source_code=data.source == STDLIB), load_corpus(data).tokenizer)

    def _evaluate(self, eval_sets: Mapping[str, Batch], audit_positions: int, pairs: Batch | None = None) -> Sealed:
        return evaluate(
            self._subject(),
            self._progress.weights,
            eval_sets,
            self._spawn,
            audit_positions=audit_positions,
            salt=secrets.token_hex(16),  # told to nobody, so that no child can steer which positions are drawn
            pairs=pairs,
        )

    def _canary(self) -> Generator[Metric, None, None]:
        """First of all, since it is short: who predicts what nobody can has seen the future. Leaves its score."""
        spec = self._job.stage.canary
        last: Metric | None = None
        for last in self._train((CANARY,), None):
            yield last
        weights = self._progress.weights[CANARY]
        windows = canary.eval_set(spec, self._draw(CANARY, weights))
        score = self._evaluate({CANARY: windows}, audit_positions=0).scores[CANARY]
        self._progress.canary = score
        self._progress.weights.clear()
        found = canary.caught(spec, score.loss, score.stderr)
        if found is None and last is not None:  # a leak that evaluation mode hides is one all the same
            found = canary.caught(spec, last.loss, canary.training_error(spec))
        if found is not None:
            raise TrialError(FailureKind.leak, f"canary: {found}")

    def _take_up(self, before: Checkpoint) -> Generator[Metric, None, None]:
        """Hands out the earlier attempt's points too: what had been told of them may be lost with its worker."""
        self._progress.take_up(before, self._job.stage.steps)
        for point in before.points:
            self._progress.note(point)
            yield point

    def _train(self, tasks: Sequence[str], before: Checkpoint | None) -> Generator[Metric, None, None]:
        """Points of the tasks, which leave their weights; the first goes on where `before` was."""
        job, tokens, progress = self._job, load_corpus(self._job.data).train, self._progress
        told: dict[str, Json] = {
            "source": job.source,
            "slot": job.slot,
            "stage": asdict(job.stage),
            "seed": job.seed,
            "device": job.device,
            "card_share": job.card_share,
            "tasks": [*tasks],
            "text": layout_of(tokens),
            "save_every_s": self._saved.every_s if CANARY not in tasks else None,  # too short to be worth it
            "resumes": before is not None,
        }
        with (
            _lent(tokens) as fds,
            talking(lambda task, body: self._spawn(task, body, fds, job.num_processes), "train", told) as child,
        ):
            if before is not None:
                child.send("resume", {"state": before.state}, before.arrays)
                before.arrays.clear()  # perhaps gigabytes, which nobody needs again
            target = expect(child, "prepared").integer("target_parameters", low=1)
            for task in tasks:
                _require_task(expect(child, "begun"), task)
                if before is not None and task == before.task:
                    progress.elapsed_from = self._clock.now() - before.elapsed_s
                if not progress.first_step_at:
                    progress.first_step_at = self._clock.now()
                done = before.step if before is not None and task == before.task else 0
                yield from self._follow(child, task, done, self._state_limit(target))

    def _follow(self, child: Child, task: str, done: int, max_bytes: int) -> Generator[Metric, None, None]:
        """A task's points, then its weights; steps only rise, so that a child cannot send points without end."""
        plan, last, saved = self._job.stage.plan(task), done, done
        while True:
            message = self._word(child, task, max_bytes, first=last == done)
            _require_task(message, task)
            if message.kind == "weights":
                self._progress.ffn_width = message.integer("ffn_width", low=8)
                self._progress.weights[task] = dict(message.arrays)
                return
            if message.kind == "checkpoint":
                saved = message.integer("step", low=max(last, saved + 1), high=plan.steps - 1)
                if self._saved.due:
                    spent_s = self._job.stage.deadline_s - (self._deadline - time.monotonic())
                    state = self._progress.checkpoint(
                        self._job.digest, task, saved, message, spent_s=spent_s, now=self._clock.now()
                    )
                    self._saved.save(state)
                continue
            last = message.integer("step", low=last + 1, high=plan.steps)
            self._progress.last_step_at = self._clock.now()
            metric = Metric(
                trial_id=self._job.trial_id,
                task=task,
                step=last,
                loss=message.real("loss"),
                grad_norm=message.real("grad_norm"),
                learning_rate=message.real("learning_rate"),
                tokens=last * plan.batch_size * plan.length,
                elapsed_s=self._progress.last_step_at - self._progress.elapsed_from,
                peak_bytes=message.optional_integer("peak_bytes"),
            )
            self._progress.note(metric)
            yield metric
            if task == TEXT:
                self._judge()

    def _judge(self) -> None:
        """Stop a training that no honest one looks like; the point that shows it has been handed out."""
        found = anomaly(self._progress.curve, self._job.stage.steps, self._job.pace, self._job.anomalies)
        if found is not None:
            raise TrialError(found.kind, found.detail, stopped=True)

    def _word(self, child: Child, task: str, max_bytes: int, *, first: bool) -> Message:
        """The training child's next point, weights or checkpoint; silence beyond the baseline's ends the trial."""
        job, every = self._job, self._job.stage.plan(task).report_every
        limit_s = silence_s(every, job.pace, job.anomalies, compiling=first and job.device != "cpu")
        kinds: tuple[str, ...] = ("point", "weights")
        most = max_bytes
        if self._saved.every_s is not None and task != CANARY:
            kinds, most = (*kinds, "checkpoint"), _CHECKPOINT_FACTOR * max_bytes
        try:
            message = expect(child, *kinds, max_array_bytes=most, timeout_s=limit_s)
        except wire.PeerSilentError:
            if limit_s is None or time.monotonic() >= self._deadline:
                raise
            detail = f"no word from the training for {limit_s:.1f} s: it hangs, or its steps take far too long"
            raise TrialError(FailureKind.silent, detail, stopped=True) from None
        num_bytes = sum(array.nbytes for array in message.arrays.values())
        if message.kind != "checkpoint" and num_bytes > max_bytes:
            raise wire.TooLargeError(f"{message.kind!r} carries arrays of {num_bytes} bytes, the limit is {max_bytes}")
        return message

    def _state_limit(self, target_parameters: int) -> int:
        size = self._job.stage.size
        return 8 * (2 * target_parameters + 2 * size.vocab_size * size.hidden_size) + _STATE_SLACK_BYTES

    def _draw(self, task: str, weights: Mapping[str, Array]) -> int:
        return commitment(f"{self._job.trial_id}/{self._unseen}", task, weights)

    def _subject(self) -> Subject:
        assert self._progress.ffn_width is not None
        job = self._job
        return Subject(
            source=job.source,
            slot=job.slot,
            size=job.stage.size,
            ffn_width=self._progress.ffn_width,
            seed=job.seed,
            device=job.device,
            card_share=job.card_share,
        )

    @contextmanager
    def _spawn(
        self, task: str, body: Mapping[str, Json], fds: tuple[int, ...] = (), num_processes: int = 1
    ) -> Iterator[Child]:
        """A child that `cancel` can reach, for what is left of the trial's time."""
        self._require_going()
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TrialError(FailureKind.timeout, f"no time was left for {task!r}")
        try:
            child = self._server.spawn(task, body, fds=fds, deadline_s=left, num_processes=num_processes)
        except wire.PeerSilentError as error:
            raise TrialError(FailureKind.timeout, f"the deadline passed in {task!r}") from error
        except (SandboxError, wire.WireError) as error:
            raise TrialError(FailureKind.worker_died, f"{task!r} could not be started: {error}") from error
        with child:
            with self._lock:
                self._child = child
            try:
                self._require_going()
                yield child
            finally:
                with self._lock:
                    self._child = None

    def _require_going(self) -> None:
        if self._ending is not None:
            raise TrialError(FailureKind.cancelled, "cancelled")

    def _trial_of(
        self, status: TrialStatus, *, failure: FailureKind | None = None, detail: str = "", sealed: Sealed | None = None
    ) -> Trial:
        job, seen, finished_at = self._job, self._progress, self._clock.now()
        scores = scores_of(job.stage, sealed, seen.canary)
        pairs = job.stage.minimal_pairs
        left_out = f"{PAIRS}_accuracy" if pairs is not None and not pairs.in_benchmark else None
        accuracies = [score.value for score in scores if score.chance is not None and score.name != left_out]
        return Trial(
            trial_id=job.trial_id,
            candidate_id=job.candidate_id,
            stage=job.stage.name,
            seed=job.seed,
            split=job.stage.split,
            status=status,
            failure=failure,
            detail=detail,
            loss=scores[0].value if scores else None,
            loss_stderr=scores[0].stderr if scores else None,
            benchmark=sum(accuracies) / len(accuracies) if accuracies else None,
            scores=scores,
            train_loss=seen.train_loss,
            num_parameters=sealed.num_parameters if sealed else None,
            ffn_width=seen.ffn_width,
            steps=seen.steps,
            tokens=seen.steps * job.stage.batch_size * job.stage.length,
            train_s=seen.train_s,
            slot_s=finished_at - self._started_at,
            started_at=self._started_at,
            first_step_at=seen.first_step_at,
            finished_at=finished_at,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            continued_from=seen.continued_from,
        )


@contextmanager
def _lent(tokens: Tokens) -> Iterator[tuple[int, ...]]:
    """Descriptors of the training split alone: of its own shards, or of a copy in memory."""
    if isinstance(tokens, PackedTokens):
        with tokens.lent() as fds:
            yield fds
    else:
        with lent(tokens) as fd:
            yield (fd,)


def _require_task(message: Message, task: str) -> None:
    if message.text("task") != task:
        raise wire.MalformedError(f"{message.kind} is about {message.text('task', limit=80)!r}, {task!r} was due")
