"""Executed repetition: the same call gives the same, whatever came before and whatever else the process draws.

Shapes: B batch, T time, D model width.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from models.backbone import candidate_layer
from models.loading import load_mixer
from models.properties.precision import largest, rms
from models.properties.running import EVALUATION, TRAINING, Mode, run, type_of
from models.properties.subject import Finding, Refused, Subject

_LENGTH = 70
_OWN_LENGTH = 71  # no other check runs it
_BETWEEN = ((1, 1), (2, 129), (3, 70), (1, 257), (9, 33))  # shapes of the calls in between


def determinism(subject: Subject) -> Finding:
    """Bit-equal again: in evaluation under other random states, in training under the same one; built likewise."""
    _built_alike(subject)
    mixer, x_BTD = subject.mixer(perturbed=True), subject.inputs(3, _LENGTH)
    outs = []
    for seed in (1, 2):
        _seed_all(seed)
        outs.append(run(mixer, x_BTD, EVALUATION, seed=seed))
    _require_equal(
        outs[0],
        outs[1],
        "two runs in evaluation mode differ by {:.2g} of their rms: draw nothing at random there, read no clock",
    )
    outs = []
    for _ in range(2):
        _seed_all(1)
        outs.append(run(mixer, x_BTD, TRAINING, seed=1))
    _require_equal(
        outs[0],
        outs[1],
        "two training passes under one random state differ by {:.2g}: draw from torch's generator alone",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(977)
        mixer.train()(x_BTD.clone())
        if torch.initial_seed() != 977:
            raise Refused("forward seeds torch's generator: it belongs to the training; drop manual_seed")
    return Finding(figure=0, limit=0)


def state(subject: Subject) -> Finding:
    """Outputs and state dict are the same after calls with other inputs, shapes, lengths and modes."""
    _order_shows_not(subject)
    worst = 0.0
    for mixer in _mixers(subject):
        x_BTD = subject.inputs(3, _LENGTH, seed=5).to(type_of(mixer))
        evaluated, trained = run(mixer, x_BTD), run(mixer, x_BTD, TRAINING)
        _in_between(mixer, subject, EVALUATION)
        again, kept = run(mixer, x_BTD), _copy(mixer)
        _in_between(mixer, subject, EVALUATION)
        changed = [name for name, value in _copy(mixer).items() if not _same(value, kept.get(name))]
        if changed:
            raise Refused(
                f"a forward pass in evaluation mode changes {', '.join(changed)}: write to no parameter or buffer",
                len(changed),
                0,
            )
        _in_between(mixer, subject, TRAINING)
        pairs = ((evaluated, again), (trained, run(mixer, x_BTD, TRAINING)), (evaluated, run(mixer, x_BTD)))
        for before, after in pairs:
            worst = max(worst, largest(before, after, rms(before)))
            if not torch.equal(before, after):
                raise Refused(
                    f"outputs differ by {worst:.2g} of their rms after calls with other inputs: keep nothing from one "
                    "call to the next",
                    worst,
                    0,
                )
    return Finding(figure=worst, limit=0)


def _order_shows_not(subject: Subject) -> None:
    """The module as called so far against a freshly loaded one, at a length of its own."""
    first, second = (subject.inputs(2, _OWN_LENGTH, seed=seed) for seed in (7, 8))
    used = subject.mixer(perturbed=True)
    run(used, first)
    after = run(used, second)
    fresh = replace(subject, mixer_class=load_mixer(subject.source, subject.slot.entry))
    alone = run(fresh.mixer(perturbed=True), second)
    if not torch.equal(after, alone):
        figure = largest(alone, after, rms(alone))
        raise Refused(
            f"a call after others gives {figure:.2g} of the outputs' rms off what it gives in a fresh process: keep "
            "nothing from one call to the next",
            figure,
            0,
        )


def _built_alike(subject: Subject) -> None:
    mixers = []
    for seed in (1, 2):
        _seed_all(seed)
        mixers.append(subject.mixer(1).state_dict())
    if not all(_same(value, mixers[1].get(name)) for name, value in mixers[0].items()):
        raise Refused("two mixers built under one torch seed differ: draw initial values from torch's generator alone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(977)
        assert subject.mixer_class is not None
        candidate_layer(subject.slot, subject.mixer_class, subject.size, subject.width, 0)
        if torch.initial_seed() != 977:
            raise Refused("the constructor seeds torch's generator: it belongs to the training; drop manual_seed")


def _mixers(subject: Subject) -> list[nn.Module]:
    found = [subject.mixer(perturbed=True)]
    if (narrow := subject.bfloat16(1)) is not None:
        found.append(narrow)
    return found


def _in_between(mixer: nn.Module, subject: Subject, mode: Mode) -> None:
    for call, (num_rows, length) in enumerate(_BETWEEN):
        x_BTD = subject.inputs(num_rows, length, seed=100 + call)
        run(mixer, (x_BTD * (1, 30)[call % 2]).to(type_of(mixer)), mode)


def _copy(mixer: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in mixer.state_dict().items()}


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)


def _require_equal(one: Tensor, other: Tensor, message: str) -> None:
    if not torch.equal(one, other):
        figure = largest(one, other, rms(one))
        raise Refused(message.format(figure), figure, 0)
