"""What the parent knows of a trial under way: measured on its side, save for the points, which are telemetry."""

from __future__ import annotations

from dataclasses import dataclass, field

from cognition.records import Metric
from models.checkpoints import Checkpoint
from models.evaluator import TokenScores
from models.sandbox.wire import Array, MalformedError, Message
from models.scale import TEXT

_MAX_STATE_CHARS = 16_000  # an honest child's has some hundred


@dataclass(slots=True)
class Progress:
    """How far one trial is, attempts before this one included where a checkpoint tells of them."""

    train_loss: float | None = None
    ffn_width: int | None = None
    steps: int = 0
    first_step_at: float = 0.0  # of this attempt
    last_step_at: float = 0.0
    sealed_since: float = 0.0
    canary: TokenScores | None = None
    points: list[Metric] = field(default_factory=list)  # of all tasks
    weights: dict[str, dict[str, Array]] = field(default_factory=dict)
    continued_from: int = 0  # step of the text
    elapsed_from: float = 0.0  # when the trial would have begun, had it never been cut off
    trained_before_s: float = 0.0

    @property
    def curve(self) -> list[Metric]:
        """The points of the text."""
        return [point for point in self.points if point.task == TEXT]

    @property
    def train_s(self) -> float:
        return self.trained_before_s + max(0.0, self.last_step_at - self.first_step_at)

    def note(self, point: Metric) -> None:
        self.points.append(point)
        if point.task == TEXT:
            self.steps, self.train_loss = point.step, point.loss

    def take_up(self, before: Checkpoint, text_steps: int) -> None:
        """Be where an earlier attempt was, but for its points."""
        self.canary, self.ffn_width = before.canary, before.ffn_width
        self.weights = {task: dict(state) for task, state in before.weights.items()}
        self.trained_before_s = before.trained_s
        self.continued_from = before.step if before.task == TEXT else text_steps

    def checkpoint(self, job: str, task: str, step: int, message: Message, *, spent_s: float, now: float) -> Checkpoint:
        """This, with what the training child handed over, as its word. Raises MalformedError."""
        assert self.canary is not None
        state = message.text("state", limit=_MAX_STATE_CHARS + 1)
        if len(state) > _MAX_STATE_CHARS:
            raise MalformedError(f"checkpoint.state has more than {_MAX_STATE_CHARS} characters")
        return Checkpoint(
            job=job,
            task=task,
            step=step,
            elapsed_s=now - self.elapsed_from,
            spent_s=spent_s,
            trained_s=self.trained_before_s + now - self.first_step_at,
            ffn_width=self.ffn_width,
            canary=self.canary,
            points=tuple(self.points),
            weights=self.weights,
            state=state,
            arrays=dict(message.arrays),
        )
