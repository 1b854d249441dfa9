"""The campaign itself: every start goes on in the same folder, and ends with its wall budget or with the campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu_campaign.plan import outcome_of
from benchmarks.gpu_campaign.setting import keep_data_in, overrides
from benchmarks.gpu_campaign.shared import best_of, pool_for
from benchmarks.gpu_campaign.watching import watched
from benchmarks.gpu_campaign.work import Unfinished, Work
from cognition.reader import Reader
from cognition.records import TrialStatus
from models.sandbox.layer import Device
from orchestrator.campaign import Campaign

GRACE_S = 15  # for trials that are nearly done when the time is up
_END_S = 20.0  # Ray's end, and the figures
_FEWEST_S = 30.0

QUERIES = {
    "leaderboard": (
        "SELECT number, name, arm, round(loss, 4) AS loss, round(benchmark, 3) AS benchmark, "
        "round(fitness, 3) AS fitness FROM leaderboard LIMIT 12"
    ),
    "trials": "SELECT stage, status, failure, count(*) AS num, round(avg(slot_s), 1) AS slot_s FROM trials "
    "GROUP BY ALL ORDER BY ALL",
    "reports": "SELECT kind, count(*) AS num, round(avg(duration_s), 2) AS seconds FROM reports "
    "GROUP BY ALL ORDER BY ALL",
    "candidates": "SELECT arm, count(*) AS num FROM candidates GROUP BY ALL ORDER BY ALL",
    "claims": "SELECT number, name, stage, state, num_seeds, round(mean_loss, 4) AS loss, "
    "round(difference, 4) AS difference, round(low, 4) AS low, round(high, 4) AS high, round(e_value, 2) AS e_value, "
    "baseline FROM verified ORDER BY difference",
}


def measure(work: Work) -> None:
    """One start of it. Raises Unfinished where there is more to do, RuntimeError where it ended by a fault."""
    keep_data_in(work.out)
    known = outcome_of(work.out, "shared", work.name)
    num = best_of(dict(known.figures) if known is not None else {}, work.device)
    wall_s = work.left_s - GRACE_S - _END_S
    if wall_s < _FEWEST_S:
        raise Unfinished(f"{work.left_s:.0f} s were left, which is too little to begin")
    campaign = Campaign.compose(*overrides(work.device, *_of_this_start(work, num, wall_s)))
    explored = _explored(Path(campaign.folder.place))
    with watched(work.device) as usage:
        result = campaign.run()
    folder = Path(result.folder)
    start = {
        "seconds": round(result.elapsed_s, 1),
        "at_once": num,
        "explored": _explored(folder) - explored,
        "explored_per_hour": round((_explored(folder) - explored) / result.elapsed_s * 3600, 1),
        "usage": usage.as_figures(),
        "stopped_by": result.stopped_by,
    }
    starts = [*work.figures.get("starts", []), start]
    work.note(starts=starts, folder=str(folder.relative_to(work.out)), **_tables(folder))
    if result.fault:
        raise RuntimeError(f"the campaign ended by a fault: {result.stopped_by}")
    if result.stopped_by is not None:
        raise Unfinished(f"stopped by: {result.stopped_by}")


def _of_this_start(work: Work, num: int, wall_s: float) -> tuple[str, ...]:
    """What may change from start to start: places, time, and what trials take."""
    explore, verify = pool_for(work.device, num), pool_for(work.device, max(1, num // 2))
    return (
        f"run.root={work.out / 'runs'}",
        f"run.name=gpu_campaign_{work.device}",
        f"budget.wall={wall_s:.0f}s",
        f"flow.grace_s={GRACE_S}",
        *_takes("explore", explore.cpus, explore.gpus, work.device),
        *_takes("verify", verify.cpus, verify.gpus, work.device),
    )


def _takes(pool: str, cpus: float, gpus: float, device: Device) -> tuple[str, ...]:
    return (f"pools.{pool}.cpus={cpus:g}", *([f"pools.{pool}.gpus={gpus:g}"] if device == "cuda" else []))


def _explored(folder: Path) -> int:
    """Explorations that have ended, founders' too."""
    if not (folder / "lineage").exists():
        return 0
    ended = f"status <> '{TrialStatus.failed.value}'"
    return int(Reader(folder).query(f"SELECT count(*) FROM trials WHERE stage = 'explore' AND {ended}").rows[0][0])


def _tables(folder: Path) -> dict[str, Any]:
    reader = Reader(folder)
    found = {}
    for name, query in QUERIES.items():
        table = reader.query(query)
        found[name] = [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]
    return found


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)
