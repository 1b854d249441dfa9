"""A candidate's structure as numbers: the operator graph of one traced pass, in which names and layout leave no trace.

`models.tracing` records the graph; here it is made canonical and sketched. Two graphs share what their sketches share.

Not covered: shapes, which are dropped on purpose, and the same computation by other operators (a loop against a
cumulative sum): that is what the behaviour's fingerprint is for. Code that reads the shape of its input and branches
shows the branch that it takes at this length.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from models.tracing import COMMUTATIVE, Node, Trace, trace

NUM_SKETCH = 128
_HOPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What novelty compares where behaviours cannot be: those of equally shaped weights alone can."""

    sketch: tuple[float, ...] = ()  # [128], not negative; empty where the graph could not be traced
    layout: str = ""  # hash over the parameters' shapes, whatever their names and order


def signature(mixer: nn.Module, hidden_size: int) -> Signature:
    """Trace one pass of the mixer as it stands. A pass that raises or grows too large leaves the sketch empty."""
    layout = layout_of(tuple(parameter.shape) for parameter in mixer.parameters())
    try:
        return Signature(sketch=sketch_of(trace(mixer, hidden_size)), layout=layout)
    except Exception:  # noqa: BLE001 - candidate code may raise anything; the gate's checks say what
        return Signature(layout=layout)


def layout_of(shapes: Iterable[Sequence[int]]) -> str:
    """16 hex digits over the sorted shapes: equal layouts can be given equal weights."""
    return hashlib.sha256(repr(sorted(map(tuple, shapes))).encode()).hexdigest()[:16]


def sketch_of(traced: Trace) -> tuple[float, ...]:
    """Labels of all nodes at 0 to 3 hops (Weisfeiler and Lehman 1968), counted and hashed into 128 places.

    A label is the operator and what stands around it; numbers that the pass computes with are labels of their own.
    Counts enter by their logarithm, so that a loop that runs twice as often is not another design.
    """
    nodes = _reachable(traced)
    consumers = _consumers(nodes)
    labels: Mapping[int, str] = {place: node.op for place, node in nodes.items()}
    counts: Counter[str] = Counter()
    for hop in range(_HOPS + 1):
        counts.update(f"{hop}:{label}" for label in labels.values())
        labels = {place: _label(place, nodes, labels, consumers) for place in nodes}
    sketch = [0.0] * NUM_SKETCH
    counts.update({f"number {size}": count for size, count in traced.constants.items()})
    for label, count in counts.items():
        sketch[int.from_bytes(hashlib.blake2b(label.encode(), digest_size=4).digest(), "big") % NUM_SKETCH] += (
            math.log1p(count)
        )
    return tuple(round(value, 4) for value in sketch)


def _label(
    place: int, nodes: Mapping[int, Node], labels: Mapping[int, str], consumers: Mapping[int, Sequence[tuple[int, int]]]
) -> str:
    node = nodes[place]
    given = [labels[other] for other in node.inputs]
    if node.op in COMMUTATIVE:
        given.sort()
    used = sorted(f"{labels[other]}@{position}" for other, position in consumers.get(place, ()))
    told = f"{labels[place]}|{','.join(given)}|{','.join(used)}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _reachable(traced: Trace) -> dict[int, Node]:
    """The nodes that the output depends on, by number."""
    found: dict[int, Node] = {}
    waiting = [traced.output]
    while waiting:
        place = waiting.pop()
        if place not in found:
            found[place] = traced.nodes[place]
            waiting += traced.nodes[place].inputs
    return found


def _consumers(nodes: Mapping[int, Node]) -> Mapping[int, Sequence[tuple[int, int]]]:
    """node -> (who uses it, at which place; 0 for all where places do not matter)."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for place, node in nodes.items():
        for position, other in enumerate(node.inputs):
            found[other].append((place, 0 if node.op in COMMUTATIVE else position))
    return found
