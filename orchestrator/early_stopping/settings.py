"""What a stage's stopping policy is told."""

from __future__ import annotations

import math
from dataclasses import dataclass

NONE, HALVING, MEDIAN, EXTRAPOLATION = "none", "halving", "median", "extrapolation"
POLICIES = (NONE, HALVING, MEDIAN, EXTRAPOLATION)
LEAST_PEERS = 4  # a line through fewer points has no error to speak of


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingSettings:
    """When a trial counts as hopeless.

    A trial is hopeless if it will not end among the best `keep` of its peers. `keep` is a share and not a count,
    because a share means the same after ten trials and after ten thousand: what a backtest says about the one holds
    for the other, whereas a count would tighten the bar with every trial.
    """

    policy: str = NONE
    keep: float = 0.25  # share of the candidates that ended, best by sealed loss, whose last sets the bar
    first_look: float = 0.5  # share of the training before which no policy looks: ranks have not settled
    rungs: tuple[float, ...] = (0.5, 0.75)  # halving: shares of the training at which trials are compared
    eta: float = 2.0  # halving: one of so many goes on at each rung
    epsilon: float = 0.05  # extrapolation: a trial is stopped below this chance to reach the bar
    min_peers: int = 8  # finished trials of candidates at the stage without which nothing is stopped
    most_peers: int = 256  # trials are compared with so many of the latest candidates' at the stage
    controls: float = 0.1  # share of the hopeless trials that is let run on

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"stopping.policy is {self.policy!r}: known policies are {', '.join(POLICIES)}")
        for name in ("keep", "first_look", "epsilon"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"stopping.{name} is {value}: use a share between 0 and 1, both excluded")
        if not 0 <= self.controls <= 1:
            raise ValueError(f"stopping.controls is {self.controls}: use a share from 0 to 1")
        if not 1 < self.eta < math.inf:
            raise ValueError(f"stopping.eta is {self.eta}: use a number above 1, as 2 for the better half")
        if self.min_peers < LEAST_PEERS:
            raise ValueError(f"stopping.min_peers is {self.min_peers}: use {LEAST_PEERS} or more")
        if self.most_peers < self.min_peers:
            raise ValueError(
                f"stopping.most_peers is {self.most_peers}, fewer than stopping.min_peers ({self.min_peers}): nothing "
                "could ever be stopped"
            )
        if not self.rungs or sorted(set(self.rungs)) != list(self.rungs):
            raise ValueError(f"stopping.rungs is {list(self.rungs)}: use rising shares, as [0.5,0.75]")
        if self.policy == HALVING and not (self.first_look <= self.rungs[0] and self.rungs[-1] < 1):
            raise ValueError(
                f"stopping.rungs is {list(self.rungs)}: none may lie before stopping.first_look ({self.first_look}) or "
                "at the end of the training (1)"
            )
