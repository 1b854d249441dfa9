"""Whose parts are asked for, measured where."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.grammar.spaces import SPACES
from agents.parts import Design
from cognition.reader import Reader
from cognition.records import Candidate, Claim
from models.slots import slot_named
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder
from orchestrator.verified import latest

FOLDER = "attribution"
_SHARE_OF_GAIN = 0.25  # that a part may be worth and still be not needed
_TOLERANCE = 0.01  # nats per token, where no gain is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whose parts, measured where."""

    folder: RunFolder
    design: Design
    stage: str
    split: str
    seeds: tuple[int, ...]
    tolerance: float
    root: Path  # of the campaigns that train the variants
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the run folder: another question has another one."""
        candidate = self.design.candidate
        return f"{candidate.number}-{candidate.candidate_id[:8]}-{self.stage}-{len(self.seeds)}-seeds"


def question_of(
    run: str,
    asked: str | None = None,
    *,
    stage: str | None = None,
    num_seeds: int | None = None,
    tolerance: float | None = None,
    out: str | None = None,
    overrides: Sequence[str] = (),
) -> Question:
    """The question that these words ask; what is None is the docs' default.

    Raises:
        UsageError: the run is under way or none, or a word that does not fit it.
        NothingToTakeApart: the candidate has no parts that could be told.
    """
    folder = RunFolder.existing(run)
    if folder.holder(time.time()) is not None:
        raise UsageError(f"{folder.place} is being driven: stop it first (python -m orchestrator.stop {folder.place})")
    values, reader = folder.settings(), Reader(folder.folder)
    stages = {stage["name"]: stage for stage in values["scale"]["stages"]}
    stage = stage or list(stages)[-1]
    if stage not in stages:
        raise UsageError(f"--stage is {stage!r}: the campaign has {', '.join(stages)}")
    candidates = reader.rows(Candidate)
    claims = [claim for claim in latest(reader.rows(Claim)) if claim.deciding and claim.stage == stage]
    candidate = _candidate(asked, candidates, claims)
    gains = [-claim.difference for claim in claims if claim.candidate_id == candidate.candidate_id]
    if tolerance is None:
        tolerance = _SHARE_OF_GAIN * max(gains) if gains and max(gains) > 0 else _TOLERANCE
    if not tolerance > 0:
        raise UsageError(f"--tolerance is {tolerance}: use nats per token above 0")
    root = out or (None if "://" in str(folder.place) else Path(str(folder.place)) / FOLDER)
    if root is None:
        raise UsageError(f"{folder.place} is in an object store: say with --out where the trainings go")
    return Question(
        folder=folder,
        design=_design(candidate, candidates),
        stage=stage,
        split=stages[stage]["split"],
        seeds=_seeds(stages[stage]["seeds"], num_seeds),
        tolerance=tolerance,
        root=Path(root).absolute(),
        overrides=tuple(overrides),
    )


def _candidate(asked: str | None, candidates: Sequence[Candidate], claims: Sequence[Claim]) -> Candidate:
    if asked is None:
        if not claims:
            raise UsageError("nothing was verified there: name a candidate by its number or id")
        asked = min(claims, key=lambda claim: claim.difference).candidate_id
    found = [one for one in candidates if asked in (str(one.number), one.candidate_id)]
    if not found:
        raise UsageError(
            f"there is no candidate {asked!r}: give a number or an id (python -m cognition sql lists them)"
        )
    return max(found, key=lambda one: one.attempt)


def _design(candidate: Candidate, candidates: Sequence[Candidate]) -> Design:
    """Against its first parent where that is a genome too, else against the slot's reference."""
    slot = slot_named(candidate.slot)
    genomes = {one.candidate_id: one.genome for one in candidates if one.genome is not None}
    against = next((genomes[parent] for parent in candidate.parent_ids[:1] if parent in genomes), None)
    if against is None and candidate.slot in SPACES:
        space = SPACES[candidate.slot]
        against = space.to_json(space.baselines[slot.reference])
    return Design(candidate=candidate, entry=slot.entry, against=against)


def _seeds(own: Sequence[int], num: int | None) -> tuple[int, ...]:
    """The stage's own, and as many after them as are asked for."""
    if num is None:
        return tuple(own)
    if num < 1:
        raise UsageError(f"--seeds is {num}: use 1 or more")
    more = range(max(own) + 1, max(own) + 1 + max(0, num - len(own)))
    return (*own, *more)[:num]
