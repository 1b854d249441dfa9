"""What policies look at: a trial's own curve, its peers, and the bar that they set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Curve = Sequence[tuple[int, float]]  # (step, training loss in nats per token) of the text, oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another trial of the same stage and seed, as far as it has come. One that failed is none: it sets no bar."""

    losses: Mapping[int, float]  # training loss by step of the text
    final: float | None = None  # sealed loss; None: it has not finished
    stopped: bool = False  # by a policy: it is ranked, behind all that finished
    founder: bool = (
        False  # not ranked: nobody proposed it, so it is no bar to proposals; but its end can be learned from
    )
    means: dict[tuple[tuple[int, ...], ...], list[float] | None] = field(  # of a finished one, by the steps averaged
        default_factory=dict, compare=False, repr=False
    )


def ranked(peers: Sequence[Peer]) -> list[Peer]:
    """The peers that a trial is ranked among: other candidates' trials, without the founders'."""
    return [peer for peer in peers if not peer.founder]


def num_finished(peers: Sequence[Peer]) -> int:
    """Peers that trained to their end."""
    return sum(peer.final is not None for peer in peers)


def bar_of(keep: float, peers: Sequence[Peer]) -> float:
    """The sealed loss of the last of the best `keep` of the peers that ended; at least one has to have finished.

    Stopped ones are counted, and stand behind all that finished: otherwise the bar would be set by survivors alone and
    tighten with every stop.
    """
    finals = sorted(peer.final for peer in peers if peer.final is not None)
    num_ended = len(finals) + sum(peer.stopped for peer in peers)
    place = max(1, math.ceil(keep * num_ended))
    return finals[min(place, len(finals)) - 1]
