"""What a report says, gathered from run folders: plain values by section, which is also what `report.json` holds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cognition.reader import Reader
from cognition.records import (
    Ablation,
    Candidate,
    Charge,
    Claim,
    ClaimState,
    Event,
    Report,
    Trial,
    Verdict,
    candidate_id_of,
)
from cognition.statistics import Attempt, at_equal_cost
from models.slots import published_source, slot_named
from orchestrator.founders import BASELINE_ARM, FOUNDER_ARM
from orchestrator.rows import FINISHED
from orchestrator.run_folder import RunFolder
from orchestrator.shown_claims import names_of, standing
from orchestrator.verified import latest

Figures = dict[str, Any]  # by section; values are what JSON has

CONTROL = "random"  # the arm that others are held against
_MOST_SHOWN = 15
_PUBLISHED = Path(__file__).with_name("published.yaml")
_SEED = 0


def figures_of(run: str) -> Figures:
    """Everything that the report of one campaign says.

    Raises:
        UsageError, ValueError, OSError: it is no campaign's folder, or cannot be read.
    """
    folder = RunFolder.existing(run)
    values, reader = folder.settings(), Reader(folder.folder)
    candidates, trials, charges = reader.rows(Candidate), reader.rows(Trial), reader.rows(Charge)
    stages = values["scale"]["stages"]
    first = stages[0]["name"]
    losses = {verdict.candidate_id: verdict.loss for verdict in reader.rows(Verdict) if verdict.stage == first}
    own = [one for one in candidates if one.arm != BASELINE_ARM]
    scored = [loss for one in own if (loss := losses.get(one.candidate_id)) is not None]
    rivals = [losses.get(one.candidate_id) for one in candidates if one.arm == BASELINE_ARM]
    bar = min((loss for loss in rivals if loss is not None), default=None)
    ended = {trial.candidate_id for trial in trials if not trial.succeeded} | losses.keys()
    ended |= {report.candidate_id for report in reader.rows(Report) if report.refused}
    attempts = attempts_of([one for one in candidates if one.candidate_id in ended], charges, first, losses)
    common, returns = at_equal_cost(attempts, bar=bar, control=CONTROL, rng=np.random.default_rng(_SEED))
    return {
        "run": str(folder.place),
        "generated_at": time.time(),
        "finished": any(event.kind == FINISHED for event in reader.rows(Event)),
        "campaign": {"name": values["campaign"]["name"], "slot": values["campaign"]["slot"], "seed": values["seed"]},
        "slot": values["campaign"]["slot"],
        "founders": values["campaign"]["founders"],
        "budget": values["budget"],
        "data": values["data"],
        "scale": values["scale"]["name"],
        "stages": [stage_figures(stage) for stage in stages],
        "funnel": table(reader, "SELECT * FROM funnel"),
        "best_baseline_loss": bar,
        "best_loss": min(scored, default=None),
        "claims": [asdict(claim) | named(claim, candidates) for claim in standing(latest(reader.rows(Claim)))],
        "noise": table(
            reader,
            "SELECT * FROM noise QUALIFY row_number() OVER (PARTITION BY stage, metric ORDER BY num_results DESC) = 1",
        ),
        "winners_curse": table(reader, "SELECT * FROM winners_curse"),
        "rank_correlations": table(
            reader,
            "SELECT * FROM rank_correlations "
            "QUALIFY row_number() OVER (PARTITION BY lower, upper ORDER BY num_pairs DESC) = 1",
        ),
        "leaderboard": table(reader, f"SELECT * FROM leaderboard LIMIT {_MOST_SHOWN}"),
        "ablations": _ablations(reader, candidates),
        "arms": [{"arm": arm, "hit_share": one.hit_share, **asdict(one)} for arm, one in returns.items()],
        "arms_common_slot_s": common,
        "efficiency": table(
            reader,
            "SELECT candidates.name, candidates.number, efficiency.* FROM efficiency "
            "JOIN candidates USING (candidate_id) QUALIFY 1 = "
            "row_number() OVER (PARTITION BY candidate_id, stage, length, device ORDER BY measured_at DESC) "
            "ORDER BY length, candidates.number",
        ),
        "insights": table(
            reader,
            "SELECT claim, pooled_effect, pooled_low, pooled_high, num_studies, num_contradicting, confidence "
            "FROM standing "
            "WHERE superseded_by IS NULL AND source = 'measured' AND change IS NOT NULL AND num_studies > 1 "
            f"ORDER BY confidence DESC NULLS LAST, num_studies DESC LIMIT {_MOST_SHOWN}",
        ),
        "stopping": table(reader, "SELECT * FROM stopping"),
        "failures": table(
            reader,
            "SELECT stage, failure, count(*) AS num FROM trials WHERE failure IS NOT NULL "
            "GROUP BY ALL ORDER BY num DESC, stage, failure",
        ),
        "spend": table(
            reader,
            "SELECT stage, sum(slot_hours) AS slot_hours, sum(gpu_hours) AS gpu_hours, "
            "coalesce(sum(slot_hours) FILTER (outcome <> 'finished'), 0) AS slot_hours_in_vain "
            "FROM spend GROUP BY stage ORDER BY stage",
        ),
        "models_usd": float(reader.query("SELECT coalesce(sum(usd), 0) FROM llm_calls").rows[0][0]),
        "published": published(values["campaign"]["slot"], stages, trials),
        "not_tried": not_tried(values, candidates),
    }


def table(reader: Reader, sql: str) -> list[dict[str, Any]]:
    """A query's rows, by column."""
    result = reader.query(sql)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def stage_figures(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Of a stage what says how large it is."""
    size = stage["size"]
    return {
        "name": stage["name"],
        "num_layers": size["num_layers"],
        "hidden_size": size["hidden_size"],
        "vocab_size": size["vocab_size"],
        "tokens": stage["batch_size"] * stage["length"] * stage["steps"],
        "length": stage["length"],
        "seeds": list(stage["seeds"]),
        "split": stage["split"],
    }


def attempts_of(
    candidates: Sequence[Candidate], charges: Sequence[Charge], stage: str, losses: Mapping[str, float | None]
) -> dict[str, list[Attempt]]:
    """Each number that somebody was asked for, by arm: what it cost at the stage in all, and its lowest loss."""
    cost: dict[str, float] = defaultdict(float)
    for charge in charges:
        if charge.stage == stage:
            cost[charge.candidate_id] += charge.slot_s
    tried: dict[tuple[str, int], list[Candidate]] = defaultdict(list)
    for one in candidates:
        if one.arm not in (BASELINE_ARM, FOUNDER_ARM):
            tried[one.arm, one.number].append(one)
    found: dict[str, list[Attempt]] = defaultdict(list)
    for (arm, _), versions in sorted(tried.items(), key=lambda item: item[0][1]):
        known = [loss for one in versions if (loss := losses.get(one.candidate_id)) is not None]
        spent = sum(cost[one.candidate_id] for one in versions)
        found[arm].append(Attempt(cost=spent, loss=min(known, default=None)))
    return dict(sorted(found.items()))


def named(claim: Claim, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Number and names beside a claim's ids, and no state where there were none when it was made."""
    names = names_of(candidates)
    ours, theirs = names.get(claim.candidate_id), names.get(claim.baseline_id)
    return {
        "number": ours.number if ours else None,
        "name": ours.name if ours else claim.candidate_id,
        "baseline": theirs.name if theirs else claim.baseline_id,
        "state": claim.state.value if claim.reason else "not decided (a run from before claims had states)",
    }


def published(slot: str, stages: Sequence[Mapping[str, Any]], trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Published figures beside ours, where a stage has the same layers, width, vocabulary and tokens.

    Ours are those of the programs that are shipped under these names, and not of whoever calls itself so.
    """
    rows: list[dict[str, Any]] = []
    shipped = {name: candidate_id_of(published_source(slot, name)) for name in slot_named(slot).published}
    for known in yaml.safe_load(_PUBLISHED.read_text(encoding="utf-8")):
        for stage in map(stage_figures, stages):
            if any(stage[key] != known[key] for key in ("num_layers", "hidden_size", "vocab_size")):
                continue
            if not 0.95 <= stage["tokens"] / known["tokens"] <= 1.05:
                continue
            for model, figures in known["models"].items():
                ours = [
                    trial
                    for trial in trials
                    if trial.candidate_id == shipped.get(model) and trial.stage == stage["name"] and trial.succeeded
                ]
                told = [trial.train_loss for trial in ours if trial.train_loss is not None]
                row = {"stage": stage["name"], "model": model, "source": known["source"], "text": known["text"]}
                rows.append(row | figures | {"our_train_loss": float(np.mean(told)) if told else None})
    return rows


def not_tried(values: Mapping[str, Any], candidates: Sequence[Candidate]) -> list[str]:
    """What this campaign cannot speak of, in sentences."""
    told = []
    arms = {one.arm for one in candidates}
    if not any(arm.startswith("llm") for arm in arms):
        told.append("No language model proposed anything: every design is one of the grammar's.")
    if CONTROL not in arms:
        told.append("No random arm ran: whether learning helped cannot be told from this campaign.")
    stages = values["scale"]["stages"]
    if len(stages) == 1:
        told.append("There is one stage: nothing was verified on fresh seeds.")
    elif len({stage["split"] for stage in stages}) == 1:
        told.append("All stages measure on the same split: nothing was held out.")
    if values["data"]["source"] == "stdlib":
        told.append("The text is source code of the Python standard library: nothing is known of other text.")
    largest = max(stage["size"]["hidden_size"] * stage["size"]["num_layers"] for stage in stages)
    if largest < 2048:
        told.append("The models are small: what holds at this size need not at another one.")
    return told


def _ablations(reader: Reader, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Of each design at each stage what was found when it was asked last: those rows have one time."""
    names, rows = names_of(candidates), reader.rows(Ablation)
    latest: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row.candidate_id, row.stage)
        latest[key] = max(latest.get(key, 0.0), row.created_at)
    return [
        asdict(row) | {"number": named.number, "name": named.name}
        for row in rows
        if row.created_at == latest[row.candidate_id, row.stage] and (named := names.get(row.candidate_id)) is not None
    ]


DISCOVERY = ClaimState.discovery.value
