"""What a campaign has verified so far: the claims that hold, the noise, and how often a split was looked at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cognition.records import Claim, Event, NoiseLevel, Trial

SEEDED = "seeded"  # who climbed is given one more seed there


class Verified:
    """Takes each row once."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str, str], Claim] = {}  # by candidate, baseline and stage: the last revision
        self.noise: dict[tuple[str, str], NoiseLevel] = {}  # by stage and metric: the last
        self.looks: Counter[str] = Counter()  # sealed evaluations, by split
        self.num_trials: Counter[tuple[str, str]] = Counter()  # by candidate and stage
        self._seeded: dict[str, dict[tuple[str, int], None]] = defaultdict(dict)

    def add(self, record: Claim | NoiseLevel) -> None:
        if isinstance(record, NoiseLevel):
            known_noise = self.noise.get((record.stage, record.metric))
            if known_noise is None or known_noise.num_results < record.num_results:
                self.noise[record.stage, record.metric] = record
            return
        key = (record.candidate_id, record.baseline_id, record.stage)
        known = self.claims.get(key)
        if known is None or known.revision < record.revision:
            self.claims[key] = record

    def trial(self, trial: Trial) -> None:
        self.looks[trial.split] += trial.loss is not None
        self.num_trials[trial.candidate_id, trial.stage] += 1

    def seed(self, event: Event) -> None:
        """An event `SEEDED`."""
        stage, seed = event.detail.rsplit(" ", 1)
        self._seeded[stage][event.subject, int(seed)] = None

    def seeded(self, stage: str) -> Mapping[tuple[str, int], None]:
        """Whom it was written down to give another seed at a stage, with the seed, in that order."""
        return self._seeded.get(stage, {})


def latest(claims: Iterable[Claim]) -> Sequence[Claim]:
    """Those that hold: of each candidate, baseline and stage the last revision."""
    verified = Verified()
    for claim in claims:
        verified.add(claim)
    return tuple(verified.claims.values())
