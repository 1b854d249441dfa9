"""The small checks: contract, shape, dtype, finite, gradients. Milliseconds each.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models import cost
from models.backbone import MATCH_TOLERANCE, CannotFit, build, fit_ffn_width, non_embedding_parameters
from models.fingerprint import fingerprint
from models.fla_style import LoadError
from models.loading import load_mixer
from models.properties.running import run
from models.properties.subject import Finding, Refused, Subject, probe_bfloat16
from models.signature import signature

SHAPES = ((1, 1), (1, 2), (3, 33), (2, 128))
FINITE_LENGTHS = (1, 65, 521)
FINITE_SCALES = (1.0, 4.0)


def contract(subject: Subject) -> Finding:
    """The module loads, its entry can be built for any layer, the model can be matched to the parameter budget."""
    try:
        subject.mixer_class = load_mixer(subject.source, subject.slot.entry)
    except LoadError as error:
        raise Refused(str(error)) from error
    try:
        subject.state_bytes = cost.decode_state_bytes(subject.mixer())
        width = fit_ffn_width(subject.mixer_class, subject.size, subject.target_parameters, subject.slot.name)
    except CannotFit as error:
        raise Refused(str(error), error.figure, MATCH_TOLERANCE) from error
    except Exception:
        subject.mixer_class = None
        raise
    model = build(subject.mixer_class, subject.size, width, seed=0, slot=subject.slot.name)
    subject.ffn_width = width
    subject.num_parameters = non_embedding_parameters(model.state_dict())
    return Finding(
        figure=subject.num_parameters / subject.target_parameters - 1,
        limit=MATCH_TOLERANCE,
        detail=f"{subject.num_parameters} non-embedding parameters, budget {subject.target_parameters}",
    )


def shape(subject: Subject) -> Finding:
    """One plain tensor [B, T, D] for x [B, T, D], T = 1 included."""
    mixer = subject.mixer().eval()
    names = [*mixer.state_dict()]
    for num_rows, length in SHAPES:
        x_BTD = subject.inputs(num_rows, length)
        with torch.no_grad():
            out = mixer(x_BTD.clone())
        if type(out) is not Tensor:
            raise Refused(f"forward returned {type(out).__name__}; return one tensor [B, T, D]")
        if out.shape != x_BTD.shape:
            raise Refused(f"forward turned {list(x_BTD.shape)} into {list(out.shape)}; keep [B, T, D]")
    if made := [name for name in mixer.state_dict() if name not in names]:
        raise Refused(f"forward made {', '.join(made)}: build all parameters and buffers in __init__")
    return Finding()


def dtype(subject: Subject) -> Finding:
    """float32 parameters; results in the type of x, for float32 and, where the mixer runs so, bfloat16."""
    mixer = subject.mixer()
    strange = [name for name, value in mixer.named_parameters() if value.dtype != torch.float32]
    if strange:
        raise Refused(f"parameters {', '.join(strange)} are not float32; build them in the default type")
    for training in (False, True):
        out_BTD = mixer.train(training)(subject.inputs(1, 16))
        if out_BTD.dtype != torch.float32:
            raise Refused(f"forward turned float32 into {out_BTD.dtype}; return the type of x")
    answer = probe_bfloat16(subject)
    if answer is None:
        return Finding(detail="does not run in bfloat16: not examined there")
    if answer != torch.bfloat16:
        raise Refused(f"forward turned bfloat16 into {answer}; end with .to(x.dtype)")
    return Finding()


def finite(subject: Subject) -> Finding:
    """No NaN or infinity, with initial and perturbed weights, in float32 and bfloat16."""
    for perturbed in (False, True):
        mixer = subject.mixer(perturbed=perturbed)
        for length in FINITE_LENGTHS:
            for scale in FINITE_SCALES:
                _require_finite(run(mixer, scale * subject.inputs(1, length)), length, scale)
    if (narrow := subject.bfloat16()) is not None:
        for length in FINITE_LENGTHS:
            _require_finite(run(narrow, subject.inputs(1, length).bfloat16()), length, 1.0, " in bfloat16")
    subject.fingerprint = fingerprint(lambda layer: subject.mixer(layer), subject.size.hidden_size)
    subject.signature = signature(subject.mixer(), subject.size.hidden_size)
    return Finding()


def gradients(subject: Subject) -> Finding:
    """Every parameter gets a finite gradient that is not all zero, after all weights were perturbed."""
    mixer = subject.mixer(perturbed=True).train()
    x_BTD = subject.inputs(2, 80).requires_grad_()
    (mixer(x_BTD) * subject.inputs(2, 80, seed=1)).sum().backward()
    found = {name: value.grad for name, value in mixer.named_parameters() if value.requires_grad}
    missing = [name for name, grad in found.items() if grad is None or not bool(grad.any())]
    if missing:
        raise Refused(f"no gradient reaches {', '.join(missing)}: use these parameters or drop them", len(missing), 0)
    wild = [name for name, grad in found.items() if grad is not None and not bool(torch.isfinite(grad).all())]
    if wild or x_BTD.grad is None or not bool(torch.isfinite(x_BTD.grad).all()):
        raise Refused(f"gradients hold NaN or infinity: {', '.join(wild) or 'that of the input'}", len(wild), 0)
    return Finding(figure=0, limit=0)


def _require_finite(out_BTD: Tensor, length: int, scale: float, where: str = "") -> None:
    if not bool(torch.isfinite(out_BTD).all()):
        raise Refused(f"output at length {length} holds NaN or infinity for inputs of rms {scale:g}{where}")
