"""The gate: properties of a candidate that are executed, not read. Runs in a sandbox child.

Every check is a function of a Subject that answers with a Property. They run smallest first; the quick ones all, the
expensive ones only while everything before has passed. What candidate code raises fails the property at hand.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cognition.records import Property
from models import causality, cost
from models.backbone import MATCH_TOLERANCE, CannotFit, build, fit_ffn_width, non_embedding_parameters
from models.fingerprint import fingerprint
from models.loading import LoadError, candidate_traceback, load_mixer
from models.scale import ModelSize
from models.slots import Slot, slot_named

_SHAPES = ((1, 1), (1, 2), (3, 33), (2, 128))
_SINGLE_LENGTHS = (33, 65, 129, 521)  # float32 in evaluation mode, beside the full set in float64
_FINITE_LENGTHS = (1, 65, 521)
_COST_LENGTHS = (128, 256, 512, 1024)
_COST_LIMIT = 1.35  # T log T stays below 1.2; attention over all positions is at 1.5 and above at these lengths
_PERTURBATION = 0.2  # of a parameter's rms, at least of 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the gate found; figures that a failed check left out are None or empty."""

    properties: tuple[Property, ...]
    fingerprint: tuple[float, ...] = ()
    num_parameters: int | None = None  # non-embedding, after matching
    ffn_width: int | None = None
    flops_per_token: float | None = None  # forward, whole host
    state_bytes: int | None = None  # the mixer's own statement

    @property
    def passed(self) -> bool:
        return all(item.passed for item in self.properties)


@dataclass(slots=True, kw_only=True)
class Subject:
    """The candidate under examination and what the checks found out on the way."""

    source: str
    slot: Slot
    size: ModelSize
    target_parameters: int
    length: int
    mixer_class: type[nn.Module] = field(default=nn.Identity)
    fingerprint: tuple[float, ...] = ()
    num_parameters: int | None = None
    ffn_width: int | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None

    def mixer(self, layer: int = 0, *, perturbed: bool = False) -> nn.Module:
        """A fresh mixer; `perturbed` moves every weight, so that nothing hides behind a zero-initialised gain."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(layer)
            mixer = self.mixer_class(self.size.hidden_size, self.size.num_heads, layer_idx=layer)
        return _perturb(mixer) if perturbed else mixer


class Refused(Exception):
    """A check's own finding, as against an error raised by the candidate."""

    def __init__(self, detail: str, figure: float | None = None, limit: float | None = None) -> None:
        super().__init__(detail)
        self.detail, self.figure, self.limit = detail, figure, limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Figure and limit of a check that passed."""

    figure: float | None = None
    limit: float | None = None
    detail: str = ""


Check = Callable[[Subject], Finding]


def examine(source: str, slot: str, size: ModelSize, target_parameters: int, *, length: int = 128) -> Examination:
    """Execute every check on a candidate.

    `contract` and `shape` come first and end the examination when they fail, since nothing else can run. The other
    quick checks all run; the expensive ones stop at the first failure, and do not start after an earlier one.

    Args:
        source: the candidate's text; it is executed here.
        slot: name of the slot that it fills.
        size: host at the exploration size.
        target_parameters: the reference's non-embedding parameters (backbone.reference_parameters).
        length: tokens at which FLOPs per token are counted.
    """
    subject = Subject(
        source=source, slot=slot_named(slot), size=size, target_parameters=target_parameters, length=length
    )
    properties: list[Property] = []
    for name, check in {**_FIRST, **_QUICK, **_EXPENSIVE}.items():
        failed = any(not item.passed for item in properties)
        if failed and (name in _EXPENSIVE or name in _FIRST or not all(_passed(properties, key) for key in _FIRST)):
            break
        properties.append(_execute(name, check, subject))
    return Examination(
        properties=tuple(properties),
        fingerprint=subject.fingerprint,
        num_parameters=subject.num_parameters,
        ffn_width=subject.ffn_width,
        flops_per_token=subject.flops_per_token,
        state_bytes=subject.state_bytes,
    )


def _passed(properties: list[Property], name: str) -> bool:
    return any(item.name == name and item.passed for item in properties)


def _execute(name: str, check: Check, subject: Subject) -> Property:
    try:
        finding = check(subject)
    except Refused as refusal:
        return Property(name=name, passed=False, figure=refusal.figure, limit=refusal.limit, detail=refusal.detail)
    except Exception as error:  # noqa: BLE001 - candidate code may raise anything; its own lines are kept
        return Property(name=name, passed=False, detail=candidate_traceback(error))
    return Property(name=name, passed=True, figure=finding.figure, limit=finding.limit, detail=finding.detail)


def _contract(subject: Subject) -> Finding:
    try:
        subject.mixer_class = load_mixer(subject.source, subject.slot.entry)
    except LoadError as error:
        raise Refused(str(error)) from error
    subject.state_bytes = cost.decode_state_bytes(subject.mixer())
    return Finding()


def _shape(subject: Subject) -> Finding:
    mixer = subject.mixer().eval()
    for num_rows, length in _SHAPES:
        x_BTD = _inputs(num_rows, length, subject.size.hidden_size)
        with torch.no_grad():
            out = mixer(x_BTD)
        if not isinstance(out, Tensor):
            raise Refused(f"forward returned {type(out).__name__}; return one tensor [B, T, D]")
        if out.shape != x_BTD.shape:
            raise Refused(f"forward turned {list(x_BTD.shape)} into {list(out.shape)}; keep [B, T, D]")
    return Finding()


def _dtype(subject: Subject) -> Finding:
    mixer = subject.mixer()
    strange = [name for name, value in mixer.named_parameters() if value.dtype != torch.float32]
    if strange:
        raise Refused(f"parameters {', '.join(strange)} are not float32; build them in the default type")
    out_BTD = mixer(_inputs(1, 16, subject.size.hidden_size))
    if out_BTD.dtype != torch.float32:
        raise Refused(f"forward turned float32 into {out_BTD.dtype}; return the type of x")
    return Finding()


def _parameters(subject: Subject) -> Finding:
    try:
        width = fit_ffn_width(subject.mixer_class, subject.size, subject.target_parameters)
    except CannotFit as error:
        raise Refused(str(error), error.figure, MATCH_TOLERANCE) from error
    model = build(subject.mixer_class, subject.size, width, seed=0)
    subject.ffn_width = width
    subject.num_parameters = non_embedding_parameters(model.state_dict())
    subject.flops_per_token = cost.flops_per_token(model.eval(), subject.length)
    return Finding(figure=subject.num_parameters / subject.target_parameters - 1, limit=MATCH_TOLERANCE)


def _finite(subject: Subject) -> Finding:
    for perturbed in (False, True):
        mixer = subject.mixer(perturbed=perturbed).eval()
        for length in _FINITE_LENGTHS:
            for scale in (1.0, 4.0):
                with torch.no_grad():
                    out_BTD = mixer(scale * _inputs(1, length, subject.size.hidden_size))
                if not torch.isfinite(out_BTD).all():
                    raise Refused(f"output at length {length} holds NaN or infinity for inputs of rms {scale:g}")
    subject.fingerprint = fingerprint(lambda layer: subject.mixer(layer), subject.size.hidden_size)
    return Finding()


def _gradients(subject: Subject) -> Finding:
    mixer = subject.mixer(perturbed=True).train()
    x_BTD = _inputs(2, 80, subject.size.hidden_size).requires_grad_()
    weights_BTD = _inputs(2, 80, subject.size.hidden_size, seed=1)
    (mixer(x_BTD) * weights_BTD).sum().backward()
    gradients = {name: value.grad for name, value in mixer.named_parameters() if value.requires_grad}
    missing = [name for name, grad in gradients.items() if grad is None or not bool(grad.any())]
    if missing:
        raise Refused(f"no gradient reaches {', '.join(missing)}: use these parameters or drop them", len(missing), 0)
    wild = [name for name, grad in gradients.items() if grad is not None and not bool(torch.isfinite(grad).all())]
    if wild or x_BTD.grad is None or not bool(torch.isfinite(x_BTD.grad).all()):
        raise Refused(f"gradients hold NaN or infinity: {', '.join(wild) or 'that of the input'}", len(wild), 0)
    return Finding(figure=0, limit=0)


def _causality(subject: Subject) -> Finding:
    hidden_size, last = subject.size.hidden_size, subject.size.num_layers - 1
    double = causality.in_float64(lambda: subject.mixer(perturbed=True), hidden_size)
    single = subject.mixer(last, perturbed=True)
    worst = 0.0
    for mixer, training, lengths in (
        (double or single, False, causality.LENGTHS),
        (single, True, causality.LENGTHS),
        (subject.mixer(perturbed=True), False, _SINGLE_LENGTHS),
    ):
        worst = max(worst, causality.suffix_influence(mixer.train(training), hidden_size, lengths))
        if worst > causality.LIMIT:
            raise Refused(
                f"changing later inputs changes earlier outputs by {worst:.2g} of their rms: use only inputs up to t "
                "for the output at t",
                worst,
                causality.LIMIT,
            )
    return Finding(figure=worst, limit=causality.LIMIT)


def _prefix_consistency(subject: Subject) -> Finding:
    hidden_size = subject.size.hidden_size
    mixer = causality.in_float64(lambda: subject.mixer(perturbed=True), hidden_size)
    figure = causality.prefix_disagreement(mixer or subject.mixer(perturbed=True).eval(), hidden_size)
    if figure > causality.LIMIT:
        raise Refused(
            f"a prefix alone and inside a longer sequence differ by {figure:.2g} of the outputs' rms: let nothing "
            "depend on the sequence's length",
            figure,
            causality.LIMIT,
        )
    return Finding(figure=figure, limit=causality.LIMIT)


def _cost(subject: Subject) -> Finding:
    figure = cost.growth_exponent(subject.mixer().eval(), subject.size.hidden_size, _COST_LENGTHS)
    if figure > _COST_LIMIT:
        raise Refused(
            f"cost grows as T^{figure:.2f} up to T = {_COST_LENGTHS[-1]}; stay below T^{_COST_LIMIT}: chunk it",
            figure,
            _COST_LIMIT,
        )
    return Finding(figure=figure, limit=_COST_LIMIT)


_FIRST: dict[str, Check] = {"contract": _contract, "shape": _shape}
_QUICK: dict[str, Check] = {"dtype": _dtype, "parameters": _parameters, "finite": _finite, "gradients": _gradients}
_EXPENSIVE: dict[str, Check] = {"prefix_consistency": _prefix_consistency, "causality": _causality, "cost": _cost}


def _inputs(num_rows: int, length: int, hidden_size: int, seed: int = 0) -> Tensor:
    return torch.randn(num_rows, length, hidden_size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _perturb(mixer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in mixer.parameters():
        rms = max(float(parameter.square().mean().sqrt()), 0.1)
        parameter.add_(_PERTURBATION * rms * torch.randn(parameter.shape, generator=generator))
    return mixer
