"""What is under examination, and how a check answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cognition.records import candidate_id_of
from models.backbone import build, candidate_layer
from models.properties import running
from models.properties.precision import FLOAT32, FLOAT64, Precision, arithmetic_of
from models.scale import ModelSize
from models.signature import Signature
from models.slots import Slot

# What a mixer may answer to an input in a type that it cannot compute in.
_CANNOT = (RuntimeError, NotImplementedError, TypeError)


@dataclass(slots=True, kw_only=True)
class Subject:
    """The candidate under examination and what the checks found out on the way."""

    source: str
    slot: Slot
    size: ModelSize
    target_parameters: int
    length: int
    thorough: bool = False
    mixer_class: type[nn.Module] | None = None
    runs_in_bfloat16: bool = False
    refused: set[str] = field(default_factory=set)  # names of the properties that failed so far
    fingerprint: tuple[float, ...] = ()
    signature: Signature = field(default_factory=Signature)
    num_parameters: int | None = None
    ffn_width: int | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None

    def mixer(self, layer: int = 0, *, perturbed: bool = False) -> nn.Module:
        """A fresh float32 mixer, the same for the same arguments; `perturbed` moves every weight."""
        assert self.mixer_class is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(layer)
            mixer = candidate_layer(self.slot, self.mixer_class, self.size, self.width, layer)
        return running.perturb(mixer) if perturbed else mixer

    def finest(self, layer: int = 0) -> Finest:
        """A perturbed mixer in float64 where it can run so, else in float32."""
        double = self.mixer(layer, perturbed=True).double()
        try:
            out = running.run(double, self.inputs(1, 8).double())
        except _CANNOT:  # operands of two types: the mixer builds float32 tensors of its own
            return Finest(mixer=self.mixer(layer, perturbed=True), dtype=torch.float32, precision=FLOAT32)
        finite = bool(torch.isfinite(out).all())
        precision = arithmetic_of(double, self.inputs(2, 70).double()).precision if finite else FLOAT64
        return Finest(mixer=double, dtype=torch.float64, precision=precision)

    def host(self) -> nn.Module:
        """All blocks and the final norm of the host, float32, mixers perturbed: x_BTD -> h_BTD."""
        assert self.mixer_class is not None
        model = build(self.mixer_class, self.size, self.width, seed=0, slot=self.slot.name)
        for block in model.blocks:
            running.perturb(block.mixer)  # type: ignore[arg-type]
        return nn.Sequential(*model.blocks, model.norm)

    @property
    def width(self) -> int:
        """The feed-forward width once it is matched, before that the reference's."""
        return self.ffn_width or self.size.ffn_width

    def bfloat16(self, layer: int = 0) -> nn.Module | None:
        """A perturbed mixer with weights in bfloat16; None where it does not run so."""
        return self.mixer(layer, perturbed=True).bfloat16() if self.runs_in_bfloat16 else None

    @property
    def salt(self) -> int:
        """A number of the candidate's own: the same again for the same text, and nothing its author can count on."""
        return int(candidate_id_of(self.source)[:8], 16)

    def inputs(self, num_rows: int, length: int, seed: int = 0) -> Tensor:
        """x_BTD of independent normal numbers, float32; drawn for this candidate."""
        return running.inputs(num_rows, length, self.size.hidden_size, self.salt + seed)

    def layers(self) -> tuple[int, ...]:
        """Layer indices to try: those of the host, and a few of deeper ones."""
        return tuple(sorted({*range(min(self.size.num_layers, 4)), self.size.num_layers - 1, 3, 7, 11}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finest:
    """A mixer in the finest type that it runs in, and the precision that it computes with there."""

    mixer: nn.Module
    dtype: torch.dtype
    precision: Precision


class Refused(Exception):
    """A check's own finding, as against an error raised by the candidate."""

    def __init__(self, detail: str, figure: float | None = None, limit: float | None = None) -> None:
        super().__init__(detail)
        self.detail, self.figure, self.limit = detail, figure, limit


class NotOffered(Exception):
    """The candidate does not have what the check is about: nothing is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Figure and limit of a check that passed."""

    figure: float | None = None
    limit: float | None = None
    detail: str = ""


@dataclass(slots=True)
class Margin:
    """Keeps the comparison that came nearest to its limit."""

    figure: float = 0.0
    limit: float | None = None

    def add(self, figure: float, limit: float) -> None:
        if self.limit is None or figure / limit > self.figure / self.limit:
            self.figure, self.limit = figure, limit


Check = Callable[[Subject], Finding]


def probe_bfloat16(subject: Subject) -> torch.dtype | None:
    """The type that comes out for a bfloat16 input; None (and `runs_in_bfloat16` unset) where the mixer raises."""
    try:
        out = running.run(subject.mixer().bfloat16(), subject.inputs(1, 16).bfloat16())
    except _CANNOT:
        subject.runs_in_bfloat16 = False
        return None
    subject.runs_in_bfloat16 = True
    return out.dtype
