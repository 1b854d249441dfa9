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
    ClaimState,
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
from orchestrator.shown_claims import standing
from orchestrator.values import read_record
from orchestrator.verified import latest

_NEEDED = ("scale", "stages", "pools", "data")  # of a configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """One candidate with one finished trial, and everything that was found out about it."""

    run: str  # the campaign's name
    chosen_by: str  # the rule that "best" went by, in words; "": it was named
    candidate: Candidate
    parent: Candidate | None
    report: Report | None
    verdict: Verdict | None
    trial: Trial  # whose weights are exported
    trials: tuple[Trial, ...]  # all finished ones, of every stage
    claims: tuple[Claim, ...]  # that hold: of each baseline and stage the last revision
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
    """By number, NUMBER.ATTEMPT, id, or "best": the best claim that is not rejected, else the fittest; no baseline.

    Its trial is the one at the highest stage that it finished, on the first seed.

    Not the seed that came out best: that would choose its luck.

    Raises:
        UsageError: no such candidate, or no finished trial of it at that stage and seed.
        ValueError: the lineage or the configuration cannot be read.
        OSError: the folder cannot be reached.
    """
    config = folder.folder.read(CONFIG)
    values = yaml.safe_load(config)
    settings, facts = _settings(values, folder), values.get("facts") or {}
    scale = Scale(name=settings["scale"]["name"], stages=tuple(map(stage_of, settings["scale"]["stages"])))
    reader = Reader(folder.folder)
    candidates = reader.rows(Candidate)
    verdicts = {verdict.candidate_id: verdict for verdict in reader.rows(Verdict)}
    claims = latest(reader.rows(Claim))
    candidate, chosen_by = _chosen(asked, candidates, verdicts, claims, [stage.name for stage in scale.stages])
    own = candidate.candidate_id
    finished = tuple(trial for trial in reader.rows(Trial) if trial.candidate_id == own and trial.succeeded)
    trial = _trial(candidate, finished, scale, stage, seed)
    by_id = {one.candidate_id: one for one in candidates}
    reports = [report for report in reader.rows(Report) if report.candidate_id == own and not report.refused]
    pools = {name: read_record(Pool, pool, f"pools.{name}") for name, pool in settings["pools"].items()}
    pool = pools.get(settings["stages"].get(trial.stage, {}).get("pool", ""))
    checkpoints = read_record(CheckpointSettings, settings.get("checkpoints") or {}, "checkpoints").within(folder.place)
    return Winner(
        run=folder.folder.name,
        chosen_by=chosen_by,
        candidate=candidate,
        parent=by_id.get(candidate.parent_ids[0]) if candidate.parent_ids else None,
        report=reports[-1] if reports else None,
        verdict=verdicts.get(own),
        trial=trial,
        trials=finished,
        claims=tuple(claim for claim in claims if claim.candidate_id == own),
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


def _settings(values: Any, folder: RunFolder) -> Mapping[str, Any]:
    """Of config.yaml; what came later has defaults. Raises ValueError for what a trial cannot be rebuilt without."""
    settings = values.get("settings") if isinstance(values, Mapping) else None
    missing = [name for name in _NEEDED if name not in (settings or {})]
    if settings is None or missing:
        raise ValueError(
            f"{folder.place}/{CONFIG} lacks {', '.join(missing)}: another release wrote it; export it with that one"
        )
    found: Mapping[str, Any] = settings
    return found


def _chosen(
    asked: str,
    candidates: Sequence[Candidate],
    verdicts: Mapping[str, Verdict],
    claims: Sequence[Claim],
    stages: Sequence[str],
) -> tuple[Candidate, str]:
    """The candidate, and by which rule "best" is it."""
    if asked == "best":
        return _best([one for one in candidates if one.arm != BASELINE_ARM], verdicts, claims, stages)
    found = [c for c in candidates if asked in (c.candidate_id, str(c.number), f"{c.number}.{c.attempt}")]
    if not found:
        most = max((c.number for c in candidates), default=0)
        raise UsageError(f"no candidate {asked!r}: use a number up to {most}, NUMBER.ATTEMPT, an id, or `best`")
    return max(found, key=lambda candidate: candidate.attempt), ""


def _best(
    candidates: Sequence[Candidate],
    verdicts: Mapping[str, Verdict],
    claims: Sequence[Claim],
    stages: Sequence[str],
) -> tuple[Candidate, str]:
    """The best claim at the highest stage, of those that their own highest stage did not reject; else the fittest."""
    by_id = {one.candidate_id: one for one in candidates}
    highest: dict[str, Claim] = {}  # by candidate
    for claim in standing(claims):
        known = highest.get(claim.candidate_id)
        if claim.candidate_id in by_id and (known is None or stages.index(known.stage) < stages.index(claim.stage)):
            highest[claim.candidate_id] = claim
    held = [claim for claim in standing(highest.values()) if claim.state is not ClaimState.rejected]
    if held:
        best = max(held, key=lambda claim: stages.index(claim.stage))  # the first of that stage
        return by_id[best.candidate_id], f"the best claim at stage {best.stage}: {best.state.value} ({best.reason})"
    judged = [
        (verdict.fitness, candidate)
        for candidate in candidates
        if (verdict := verdicts.get(candidate.candidate_id)) is not None and verdict.fitness is not None
    ]
    if not judged:
        raise UsageError("no candidate beside the baselines has a fitness yet: name one by its number or id")
    why = "every claim was rejected" if highest else "nothing is claimed yet"
    return max(judged, key=lambda pair: (pair[0], -pair[1].number))[1], f"the highest fitness, since {why}"


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
