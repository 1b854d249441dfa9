"""What a child process gives up before it runs anything of a candidate's: the order of the layers, and their record.

Layers are applied in order, each by a function of the child's own process. One that this machine cannot have is
recorded with its reason, and the child goes on with the others; one that fails halfway ends the child. What is
guaranteed, what is not, and what each layer needs: docs/trust.md.

Not guaranteed: anything against a fault of the kernel or of a driver, or what leaks through time, caches, or a GPU
that is shared. On CUDA the child keeps its user and starts processes: there the file rules, the mounts and the
process namespace carry the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.sandbox.file_rules import FileRules, after_meeting, apart, file_rules
from models.sandbox.gang import Rank, Rendezvous, assemble, close_listeners
from models.sandbox.identity import no_capabilities, no_new_privileges, other_user
from models.sandbox.layer import Cause, Device, Jail, Layer, Limits, MissingLayer, Tools
from models.sandbox.namespaces import own_mounts, own_network, own_processes, try_user_namespace
from models.sandbox.own_process import (
    bare_environment,
    death_with_server,
    default_signals,
    few_descriptors,
    own_session,
    private_scratch,
    resource_limits,
    scrubbed,
)
from models.sandbox.system_calls import Filter, system_calls

__all__ = [
    "LAYERS",
    "Cause",
    "Confined",
    "Device",
    "Jail",
    "Layer",
    "Limits",
    "MissingLayer",
    "Tools",
    "confine",
    "prepare",
    "scrubbed",
]

_FIRST = (
    own_session,
    default_signals,
    death_with_server,
    few_descriptors,
    bare_environment,
    private_scratch,
    resource_limits,
    own_network,
)
LAYERS: dict[Device, tuple[Callable[[Jail], str], ...]] = {
    "cpu": (*_FIRST, no_new_privileges, other_user, no_capabilities, file_rules, system_calls),
    "cuda": (*_FIRST, own_processes, own_mounts, no_new_privileges, no_capabilities, file_rules, system_calls),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """The descriptors under their new numbers, what became of each layer, and which rank of a gang this is."""

    kept_fd: int
    handed_fds: tuple[int, ...]
    layers: tuple[Layer, ...]
    rank: Rank | None = None  # None: it is alone


def prepare(device: Device) -> Tools:
    """What the layers need that is imported or computed once, in the server."""
    return Tools(
        file_rules=FileRules.prepare(device),
        system_calls=Filter.prepare(device),
        user_namespace=try_user_namespace(),
    )


def confine(jail: Jail, rendezvous: Rendezvous | None = None) -> Confined:
    """Confine the calling process, which must be a fresh fork of a single-threaded server.

    Raises OSError where a layer that this platform has cannot be applied: the child must not go on then. On CUDA it
    returns in a descendant of the calling process, and of a gang in each rank, which has met the others by then.
    """
    layers = LAYERS[jail.device]
    rank: Rank | None = None
    if jail.num_processes == 1:
        applied = [_applied(layer, jail) for layer in layers]
    else:
        assert rendezvous is not None
        # Sockets are refused last, since the ranks need some to meet; whatever else can be given up is given up
        # before, so that the threads which the rendezvous starts are born without it.
        applied = [_applied(layer, jail) for layer in layers if layer is not system_calls]
        rank = assemble(jail.num_processes)
        applied.append(_applied(apart, jail))
        rendezvous(rank, jail.device)
        close_listeners()
        applied += [
            _applied(layer, jail) for layer in (after_meeting, system_calls) if layer in (after_meeting, *layers)
        ]
    first = 3
    return Confined(
        kept_fd=first,
        handed_fds=tuple(range(first + 1, first + 1 + len(jail.handed_fds))),
        layers=tuple(applied),
        rank=rank,
    )


def _applied(layer: Callable[[Jail], str], jail: Jail) -> Layer:
    try:
        return Layer(name=layer.__name__, in_force=True, detail=layer(jail))
    except MissingLayer as missing:
        return Layer(
            name=layer.__name__,
            in_force=False,
            detail=missing.reason,
            remedy=missing.remedy,
            required=missing.required,
        )
