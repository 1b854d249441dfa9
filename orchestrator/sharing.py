"""Whose turn it is when pools share a cluster: start-time fair queueing over what their trials hold.

Each pool has a clock that runs with the time for which its trials hold the cluster, over its weight; the pool whose
clock is furthest behind is next. A pool that had nothing to do starts at the others' time: idleness is not saved up.
What does not fit waits at the head: nothing else may take what it lacks until it does fit, so that trials on whole
nodes are not starved by small ones.

Not guaranteed: that Ray finds the room on one node where the totals say that there is room. The trial waits in Ray
then, and counts as handed out.

Start-time fair queueing: Goyal, Vin and Cheng 1996, section 2; shares of several resources by the largest one: Ghodsi
et al. 2011 (dominant resource fairness).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.pools import Pool

_LEAST_S = 1e-3


class Shares:
    """Pure bookkeeping: no threads, no clock, no Ray."""

    def __init__(self, pools: Mapping[str, Pool], most: int | None = None) -> None:
        """`most`: trials at once over all pools; None: as many as fit."""
        self._pools = dict(pools)
        self._most = most
        self._capacity: dict[str, float] = {}
        self._used: dict[str, float] = {}
        self._running = dict.fromkeys(pools, 0)
        self._served_s = dict.fromkeys(pools, 0.0)  # each pool's clock
        self._now_s = 0.0  # the clock of whoever was handed something last
        self._asking: set[str] = set()

    @property
    def num_running(self) -> int:
        return sum(self._running.values())

    def has(self, capacity: Mapping[str, float]) -> None:
        """What the cluster has in all, by Ray's names; nodes come and go."""
        self._capacity = dict(capacity)

    def next(self, asking: Collection[str]) -> str | None:
        """The pool of the trial to hand out next, of those that ask; None while there is no room for it."""
        for name in set(asking) - self._asking:
            self._served_s[name] = max(self._served_s[name], self._now_s)
        self._asking = set(asking)
        if self._most is not None and self.num_running >= self._most:
            return None
        kept: set[str] = set()  # what those at the head wait for
        for name in sorted(asking, key=lambda name: (self._served_s[name], name)):
            pool = self._pools[name]
            if pool.limit is not None and self._running[name] >= pool.limit:
                continue
            if kept & set(pool.bundle):
                continue
            lacking = self._lacking(pool)
            if not lacking:
                return name
            if all(self._capacity.get(kind, 0.0) >= amount - 1e-6 for kind, amount in pool.bundle.items()):
                kept |= lacking  # what no node is left for waits for itself alone
        return None

    def take(self, name: str, expected_s: float) -> None:
        """A trial of this pool was handed out; it is charged what it is expected to take until it ends."""
        self._now_s = self._served_s[name]
        self._charge(name, max(_LEAST_S, expected_s))
        self._running[name] += 1
        for kind, amount in self._pools[name].bundle.items():
            self._used[kind] = self._used.get(kind, 0.0) + amount

    def give_back(self, name: str, expected_s: float, taken_s: float) -> None:
        """It ended, and took so long."""
        self._charge(name, taken_s - max(_LEAST_S, expected_s))
        self._running[name] -= 1
        for kind, amount in self._pools[name].bundle.items():
            self._used[kind] -= amount

    def _charge(self, name: str, seconds: float) -> None:
        pool = self._pools[name]
        share = max((amount / self._capacity.get(kind, amount) for kind, amount in pool.bundle.items()), default=1.0)
        self._served_s[name] += seconds * share / pool.weight

    def _lacking(self, pool: Pool) -> set[str]:
        """What a pool with a limit of its own asks for is left to Ray, so that an autoscaler sees the demand."""
        if pool.limit is not None:
            return set()
        free = {kind: have - self._used.get(kind, 0.0) for kind, have in self._capacity.items()}
        return {kind for kind, amount in pool.bundle.items() if free.get(kind, 0.0) < amount - 1e-6}
