"""Connect to the Ray that the configuration names, or start a private one."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import ClusterSettings
from orchestrator.errors import UsageError
from orchestrator.head import HELLO
from orchestrator.pools import GATE, Pool

_SETTINGS = b"\x04"  # the kind of frame with which a server of HTTP/2 answers
_SLOTS_A_GATE = 16  # one examination takes seconds, an exploration on a GPU many minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What was connected to."""

    description: str
    owned: bool  # we joined or started it, so we leave it
    num_cpus: float
    num_gpus: float
    num_slots: int  # exploration trials at once
    num_gates: int  # examinations at once
    head: str  # HOST:PORT at which its life can be seen


def connect(settings: ClusterSettings, pools: Mapping[str, Pool], first: str, namespace: str) -> Cluster:
    """Connect to Ray or start it. A private Ray is the default: `ray.init()` alone would join any that was left behind.

    Args:
        first: the pool of exploration.

    Raises:
        UsageError: the address does not answer within the time-out, or a pool's trials could never run there.
    """
    import ray

    if ray.is_initialized():  # a notebook or a test that has its own Ray
        return _described("the Ray of this process", settings, pools, first, owned=False)
    address = _address(settings)
    private = address == "local"
    if private:
        # Its watch would end a worker of ours for the memory that a candidate took. Candidates have limits of their
        # own, and beyond those the kernel ends the largest of them first (models/sandbox/own_process.py).
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": _cpus(settings, pools)} if private else {}
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise UsageError(f"Ray at {address} cannot be joined ({error}): check cluster.address") from error
    where = "a private Ray on this machine" if private else f"the Ray at {address}"
    return _described(where, settings, pools, first, owned=True)


def disconnect(cluster: Cluster) -> None:
    """Leave Ray if we joined it; a private one ends with us."""
    import ray

    if cluster.owned:
        ray.shutdown()


def check_address(settings: ClusterSettings) -> None:
    """Raise UsageError at once where Ray itself would retry an address for minutes."""
    import ray

    address = _address(settings)
    if address != "local" and not ray.is_initialized():
        _probe(address, settings.connect_timeout_s)


def _address(settings: ClusterSettings) -> str:
    return settings.address or os.environ.get("RAY_ADDRESS") or "local"


def _described(where: str, settings: ClusterSettings, pools: Mapping[str, Pool], first: str, *, owned: bool) -> Cluster:
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    num_cpus, num_gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    private = owned and _address(settings) == "local"
    later = []  # pools that nodes have to come for
    for name, pool in pools.items():
        if not pool.bundle or any(pool.fitting(node) for node in nodes):
            continue
        if pool.limit is None or private:
            if owned:
                ray.shutdown()
            raise UsageError(_no_room(name, pool, nodes, private=private))
        later.append(name)
    fitting = sum(pools[first].fitting(node) for node in nodes) or pools[first].limit or 1
    slots = min(fitting, settings.slots or fitting, pools[first].limit or fitting)
    gate = pools.get(GATE)
    return Cluster(
        description=where
        + (f" ({len(nodes)} nodes)" if len(nodes) > 1 else "")
        + (f"; no node has room for a trial of pool {', '.join(later)} yet" if later else ""),
        owned=owned,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        num_slots=slots,
        head=_head(settings),
        num_gates=min((gate.limit if gate else None) or max(1, slots // _SLOTS_A_GATE), max(1, int(num_cpus))),
    )


def _no_room(name: str, pool: Pool, nodes: Sequence[Mapping[str, float]], *, private: bool) -> str:
    largest = _in_words(max(nodes, key=lambda node: node.get("CPU", 0.0), default={}))
    elsewhere = "or use a Ray that has it (cluster.address)"
    if not private:
        elsewhere = f"add nodes, or set pools.{name}.limit where nodes come on demand"
    return (
        f"a trial of pool {name} takes {_in_words(pool.bundle)}, and no node has that (the largest: {largest}): lower "
        f"pools.{name}, {elsewhere}"
    )


def _head(settings: ClusterSettings) -> str:
    import ray

    address = _address(settings)
    if address.startswith("ray://"):  # what this process talks to; the head's own address may be out of its reach
        return address.removeprefix("ray://")
    return str(ray.get_runtime_context().gcs_address)


def _cpus(settings: ClusterSettings, pools: Mapping[str, Pool]) -> int | None:
    """CPUs of a private Ray: what the slots need, or None for all there are."""
    if settings.slots is None:
        return None
    return max(1, math.ceil(settings.slots * max(pool.cpus for pool in pools.values())))


def _in_words(resources: Mapping[str, float]) -> str:
    shown = {name: amount for name, amount in resources.items() if not name.startswith(("node:", "object_store"))}
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items())) or "nothing"


def _probe(address: str, timeout_s: float) -> None:
    target = address.removeprefix("ray://")
    if target == "auto":
        return
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"cluster.address is {address!r}: use HOST:PORT, ray://HOST:PORT, auto or local")
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as there:
            there.sendall(HELLO)
            try:
                said = there.recv(16)
            except TimeoutError:
                return  # as behind TLS: Ray itself has to find out
    except OSError as error:
        raise UsageError(
            f"no Ray answers at {address} ({error}): start it with `ray start --head`, or use cluster.address=local"
        ) from error
    if said[3:4] != _SETTINGS:
        raise UsageError(
            f"what answers at {address} is no Ray: give the port of `ray start --head`, 6379 unless it was told "
            "another, and not the dashboard's 8265"
        )
