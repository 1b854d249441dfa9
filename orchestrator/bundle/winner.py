"""What the rows of a campaign say of one candidate, and which of its trials is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cognition.folders import with_region
from cognition.reader import Reader
from cognition.records import (
    Candidate,
    Claim,
    Entry,
    Insight,
    Origin,
    Paper,
    Report,
    Trial,
    Verdict,
)
from models.checkpoints import CheckpointSettings
from models.data import DataSpec
from models.scale import Scale, stage_of
from models.slots import Slot, slot_named
from models.trial import TrialJob
from orchestrator.errors import UsageError
from orchestrator.founders import BASELINE_ARM
from orchestrator.pools import Pool
from orchestrator.run_folder import CONFIG, RunFolder
from orchestrator.values import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """One candidate with one finished trial, and everything that was found out about it."""

    run: str  # the campaign's name
    candidate: Candidate
    parent: Candidate | None
    report: Report | None
    verdict: Verdict | None
    trial: Trial  # whose weights are exported
    trials: tuple[Trial, ...]  # all finished ones, of every stage
    claims: tuple[Claim, ...]
    insights: tuple[Insight, ...]
    origins: tuple[Origin, ...]
    entries: Mapping[str, Entry]
    papers: Mapping[str, Paper]
    names: Mapping[str, str]  # candidate_id -> name, of everybody
    num_judged: int  # candidates with a score: among so many it was chosen
    scale: Scale
    job: TrialJob
    facts: Mapping[str, Any]  # of config.yaml
    config: bytes  # config.yaml itself
    weights_uri: str  # where weights of finished trials are kept

    @property
    def slot(self) -> Slot:
        return slot_named(self.candidate.slot)


def winner_of(folder: RunFolder, asked: str, stage: str | None = None, seed: int | None = None) -> Winner:
    """By number, NUMBER.ATTEMPT, id, or "best": the fittest that is no baseline.

    Its trial is the one at the highest stage that it finished, on the first seed.

    Not the seed that came out best: that would choose its luck.

    Raises:
        UsageError: no such candidate, or no finished trial of it at that stage and seed.
        ValueError: the lineage or the configuration cannot be read.
        OSError: the folder cannot be reached.
    """
    config = folder.folder.read(CONFIG)
    values = yaml.safe_load(config)
    settings, facts = values["settings"], values.get("facts") or {}
    scale = Scale(name=settings["scale"]["name"], stages=tuple(map(stage_of, settings["scale"]["stages"])))
    reader = Reader(folder.folder)
    candidates = reader.rows(Candidate)
    verdicts = {verdict.candidate_id: verdict for verdict in reader.rows(Verdict)}
    candidate = _chosen(asked, candidates, verdicts)
    own = candidate.candidate_id
    finished = tuple(trial for trial in reader.rows(Trial) if trial.candidate_id == own and trial.succeeded)
    trial = _trial(candidate, finished, scale, stage, seed)
    by_id = {one.candidate_id: one for one in candidates}
    reports = [report for report in reader.rows(Report) if report.candidate_id == own and not report.refused]
    pools = {name: read_record(Pool, pool, f"pools.{name}") for name, pool in settings["pools"].items()}
    pool = pools.get(settings["stages"].get(trial.stage, {}).get("pool", ""))
    checkpoints = read_record(CheckpointSettings, settings["checkpoints"], "checkpoints").within(folder.place)
    return Winner(
        run=folder.folder.name,
        candidate=candidate,
        parent=by_id.get(candidate.parent_ids[0]) if candidate.parent_ids else None,
        report=reports[-1] if reports else None,
        verdict=verdicts.get(own),
        trial=trial,
        trials=finished,
        claims=tuple(claim for claim in reader.rows(Claim) if claim.candidate_id == own),
        insights=tuple(insight for insight in reader.rows(Insight) if insight.candidate_id == own),
        origins=tuple(origin for origin in reader.rows(Origin) if origin.candidate_id == own),
        entries={entry.entry_id: entry for entry in reader.rows(Entry)},
        papers={paper.paper_id: paper for paper in reader.rows(Paper)},
        names={one.candidate_id: one.name for one in candidates},
        num_judged=sum(verdict.fitness is not None for verdict in verdicts.values()),
        scale=scale,
        job=TrialJob(
            trial_id=trial.trial_id,
            candidate_id=own,
            source=candidate.source,
            slot=candidate.slot,
            stage=scale.stage(trial.stage),
            seed=trial.seed,
            data=read_record(DataSpec, settings["data"], "data"),
            device=pool.device if pool is not None else "cpu",
            num_processes=pool.num_processes if pool is not None else 1,
            corpus=str((facts.get("data") or {}).get("digest", "")),
        ),
        facts=facts,
        config=config,
        weights_uri=with_region(str(checkpoints.uri)),
    )


def _chosen(asked: str, candidates: Sequence[Candidate], verdicts: Mapping[str, Verdict]) -> Candidate:
    if asked == "best":
        judged = [
            (verdict.fitness, candidate)
            for candidate in candidates
            if candidate.arm != BASELINE_ARM
            and (verdict := verdicts.get(candidate.candidate_id)) is not None
            and verdict.fitness is not None
        ]
        if not judged:
            raise UsageError("no candidate beside the baselines has a fitness yet: name one by its number or id")
        return max(judged, key=lambda pair: (pair[0], -pair[1].number))[1]
    found = [c for c in candidates if asked in (c.candidate_id, str(c.number), f"{c.number}.{c.attempt}")]
    if not found:
        most = max((c.number for c in candidates), default=0)
        raise UsageError(f"no candidate {asked!r}: use a number up to {most}, NUMBER.ATTEMPT, an id, or `best`")
    return max(found, key=lambda candidate: candidate.attempt)


def _trial(candidate: Candidate, finished: Sequence[Trial], scale: Scale, stage: str | None, seed: int | None) -> Trial:
    order = [one.name for one in scale.stages]
    at = [trial for trial in finished if stage in (None, trial.stage) and seed in (None, trial.seed)]
    if not at:
        there = ", ".join(f"{trial.stage} on seed {trial.seed}" for trial in finished) or "none of its trials finished"
        raise UsageError(
            f"candidate {candidate.number} ({candidate.name}) has no finished trial of stage {stage or 'any'} on seed "
            f"{'any' if seed is None else seed}; there is: {there}"
        )
    highest = max(at, key=lambda trial: order.index(trial.stage)).stage
    return min((trial for trial in at if trial.stage == highest), key=lambda trial: trial.seed)
