"""One training run: AdamW, linear warm-up, a schedule, gradient clipping. Runs in a sandbox child."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from models.backbone import LanguageModel
from models.batch import Batch
from models.feeding import Fed, feed
from models.micro_batches import MicroBatches, OutOfMemory
from models.scale import Recipe
from models.training_state import CurveState, Saving, TrainingState, capture, restore

_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.1
_BETAS = (0.9, 0.95)
_FINAL_SHARE = 0.1  # of the peak learning rate, at the last step
_STABLE_SHARE = 0.8  # of the steps, before "wsd" decays
_DIVERGENCE_NATS = 2.0  # above the lowest point of the curve


class NonFinite(Exception):
    """A loss, gradient or weight is NaN or infinite."""


class Diverged(Exception):
    """The loss climbed far above its own lowest point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPoint:
    """One point of the curve: telemetry, since the candidate's code runs in the same process."""

    step: int  # steps done
    loss: float  # nats per counted token, mean of the steps since the last point
    grad_norm: float  # before clipping, of the last step
    learning_rate: float  # of the last step
    tokens: int  # input tokens so far
    elapsed_s: float  # since training began


def train(
    model: LanguageModel,
    batches: Iterator[Batch],
    *,
    steps: int,
    learning_rate: float,
    warmup_steps: int,
    report_every: int,
    report: Callable[[TrainingPoint], None],
    recipe: Recipe = Recipe(),  # noqa: B008 - frozen
    save: Saving | None = None,
    resume: TrainingState | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingPoint:
    """Train in place and report every `report_every` steps and after the last; hand back the last point.

    `save` is asked after every step but the last whether it wants the state. With `resume`, which one of them was, the
    training goes on from there: `batches` begin with the one of the step after it, and `steps` counts those done too.

    Raises:
        NonFinite: seen at a point of the curve (so up to `report_every` steps late), or in the weights at the end.
        Diverged: a point lies 2 nats above the lowest one.
        OutOfMemory: on a GPU that one sequence does not fit, or that is full when an update is half done.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = parameters[0].device
    optimiser = torch.optim.AdamW(_groups(parameters), lr=learning_rate, betas=_BETAS, fused=True)
    micro_batches = MicroBatches(model.train(), recipe)
    curve = _Curve(CurveState() if resume is None else resume.curve, device, clock)
    if resume is not None:
        micro_batches.size = resume.curve.micro_batch
        restore(resume, model, optimiser)
    done = curve.step
    point: TrainingPoint | None = None
    for step, fed in enumerate(feed(batches, steps - done, device), done + 1):
        rate = learning_rate * _share_of_peak(recipe.schedule, step, steps, warmup_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss, grad_norm = _update(optimiser, parameters, micro_batches, fed)
        curve.add(loss, fed.inputs_BT.numel())
        if step % report_every == 0 or step == steps:
            point = curve.point(grad_norm, rate)
            report(point)
            curve.require_no_climb(point)
        if save is not None and step < steps and save.due and curve.is_finite:
            save.save(capture(model, optimiser, curve.state(micro_batches.size)))
    if point is None:
        raise ValueError(f"steps is {steps} and {done} are done; at least 1 has to be left")
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise NonFinite(f"{name} is not finite after step {steps}")
    return point


class _Curve:
    """Steps, tokens and losses so far; losses stay on the device until a point, or whoever saves, asks."""

    def __init__(self, so_far: CurveState, device: torch.device, clock: Callable[[], float]) -> None:
        self.step = so_far.step
        self._tokens, self._point_step = so_far.tokens, so_far.point_step
        self._summed = torch.full((), so_far.summed_loss, device=device)
        self._lowest = math.inf if so_far.lowest_loss is None else so_far.lowest_loss
        self._clock = clock
        self._begin = clock() - so_far.elapsed_s

    @property
    def is_finite(self) -> bool:
        """Whether the next point may come: a sum that is not finite ends the training there."""
        return math.isfinite(float(self._summed))

    def add(self, loss: torch.Tensor, num_tokens: int) -> None:
        self.step += 1
        self._summed += loss
        self._tokens += num_tokens

    def point(self, grad_norm: torch.Tensor, learning_rate: float) -> TrainingPoint:
        """The mean of the steps since the last one. Raises NonFinite."""
        point = TrainingPoint(
            step=self.step,
            loss=float(self._summed) / (self.step - self._point_step),
            grad_norm=float(grad_norm),
            learning_rate=learning_rate,
            tokens=self._tokens,
            elapsed_s=self._clock() - self._begin,
        )
        _require_finite(point)
        self._summed.zero_()
        self._point_step = self.step
        return point

    def require_no_climb(self, point: TrainingPoint) -> None:
        self._lowest = min(self._lowest, point.loss)
        if point.loss > self._lowest + _DIVERGENCE_NATS:
            above = point.loss - self._lowest
            raise Diverged(f"loss {point.loss:.3f} at step {point.step}, {above:.1f} nats above its lowest")

    def state(self, micro_batch: int | None) -> CurveState:
        return CurveState(
            step=self.step,
            elapsed_s=self._clock() - self._begin,
            summed_loss=float(self._summed),
            point_step=self._point_step,
            lowest_loss=self._lowest if math.isfinite(self._lowest) else None,
            tokens=self._tokens,
            micro_batch=micro_batch,
        )


def _update(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], micro_batches: MicroBatches, fed: Fed
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: the loss, and the gradients' norm before clipping.

    Where memory ends in clipping or in the optimiser before anything is updated, the batch begins again in smaller
    pieces: gradients are made anew, and moments of parameters that had none are dropped.

    Raises:
        OutOfMemory: one sequence does not fit, or the optimiser had begun to update.
    """
    while True:
        optimiser.zero_grad(set_to_none=True)
        loss = micro_batches.backward(fed.inputs_BT, fed.targets_BT, fed.num_counted)
        before = _updates(optimiser)
        try:
            grad_norm = nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
            optimiser.step()
            return loss, grad_norm
        except torch.OutOfMemoryError as error:
            for parameter, version in _updates(optimiser).items():
                if version != before.get(parameter, 0):
                    reason = str(error).splitlines()[0]
                    raise OutOfMemory(f"memory ended within an update, which is half done now: {reason}") from error
                if parameter not in before:
                    del optimiser.state[parameter]
            micro_batches.shrink(fed.inputs_BT.shape[0], error)


def _updates(optimiser: torch.optim.Optimizer) -> dict[torch.Tensor, int]:
    """How often AdamW has counted a step of each parameter that it has a state of; it counts before it updates.

    Read from the counters' versions: on a GPU their values would have to be waited for.
    """
    return {parameter: state["step"]._version if "step" in state else 0 for parameter, state in optimiser.state.items()}


def _groups(parameters: list[nn.Parameter]) -> list[dict[str, object]]:
    """Matrices decay; gains, biases and decay rates do not."""
    return [
        {"params": [parameter for parameter in parameters if parameter.dim() >= 2], "weight_decay": _WEIGHT_DECAY},
        {"params": [parameter for parameter in parameters if parameter.dim() < 2], "weight_decay": 0.0},
    ]


def _share_of_peak(schedule: str, step: int, steps: int, warmup_steps: int) -> float:
    """Of the learning rate, at a step counted from 1: linear up, then down to a tenth.

    "cosine" falls from the warm-up on; "wsd" (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395, section 4)
    stays until the last fifth and falls linearly.
    """
    if step <= warmup_steps:
        return step / warmup_steps
    if schedule == "wsd":
        stable = max(warmup_steps, round(_STABLE_SHARE * steps))
        fallen = max(0, step - stable) / max(1, steps - stable)
        return 1 - (1 - _FINAL_SHARE) * fallen
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return _FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def _require_finite(point: TrainingPoint) -> None:
    if not math.isfinite(point.loss):
        raise NonFinite(f"loss is {point.loss} at step {point.step}")
    if not math.isfinite(point.grad_norm):
        raise NonFinite(f"gradient norm is {point.grad_norm} at step {point.step}")
