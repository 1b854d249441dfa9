"""A campaign of seconds that one seed determines, in this process, and what of its rows a fault may not change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cognition.folders import Place
from cognition.reader import NoLineage, Reader
from cognition.records import Candidate, Claim, Event, Insight, Report, Trial, Verdict
from orchestrator.campaign import Campaign
from orchestrator.result import Result, View

# Where the machine is busy, no deadline and no anomaly of time may change what comes out.
PATIENT = (
    *("scale.stages.explore.deadline_s=600", "scale.stages.verify.deadline_s=600", "flow.gate_deadline_s=600"),
    *("anomalies.slow_factor=null", "anomalies.silent_floor_s=300"),
)
SMALL = (
    *("+campaign=linear_attn", "scale=tiny", "campaign.founders=[delta_net,linear_attention]", "budget.candidates=2"),
    *("data.max_bytes=1500000", "deterministic=true", "flow.look_ahead=3", "tracking=none", "cluster.slots=2"),
    *("stages.verify.best=1", *PATIENT),
)


def run(folder: Path, *overrides: str, views: Sequence[View] = ()) -> Result:
    return Campaign.compose(
        *SMALL, f"run.root={folder.parent}", f"run.name={folder.name}", *overrides, views=views
    ).run()


def ledger(folder: Place) -> dict[str, object]:
    """What one seed has to reproduce: the candidates, what was refused, and every figure."""
    reader = Reader(folder)
    return {
        "candidates": sorted((c.number, c.attempt, c.arm, c.candidate_id) for c in reader.rows(Candidate)),
        "reports": sorted((r.number, r.attempt, r.kind.value, r.fingerprint) for r in reader.rows(Report)),
        "trials": sorted((t.trial_id, t.status.value, t.loss, t.benchmark) for t in reader.rows(Trial)),
        "fitness": sorted((v.number, v.fitness) for v in reader.rows(Verdict)),
        "insights": sorted((i.insight_id, i.effect, i.low) for i in reader.rows(Insight)),
        "claims": sorted({(c.candidate_id, c.stage, c.difference) for c in reader.rows(Claim)}),
    }


def trials(folder: Place) -> list[Trial]:
    """Those in the store at this moment; none before there is one."""
    try:
        return Reader(folder).rows(Trial)
    except NoLineage:
        return []


def events(folder: Place, kind: str) -> list[Event]:
    """Of that kind; none before there is a store."""
    try:
        return [event for event in Reader(folder).rows(Event) if event.kind == kind]
    except NoLineage:
        return []
