"""The research loop: one coroutine per candidate, from proposal to insight; meanwhile the best climb.

Every `await` that costs something is written ahead in `Steps`: an intent row before, a completion row after, both
under an idempotent id. A kill between any two lines loses nothing and repeats nothing that was paid for.
"""

from __future__ import annotations

import asyncio

from agents.brief import Evidence
from agents.protocols import NoProposal
from cognition.records import Candidate, Report
from orchestrator.climbing import Climb
from orchestrator.steps import Steps


async def research(campaign: Steps) -> None:
    """Run the campaign to its end: explore every number, and let the best climb beside the best baseline."""
    async with asyncio.TaskGroup() as tasks:
        promote(campaign, tasks)  # who had earned it before an earlier start ended
        for number in campaign.numbers():
            await campaign.turn(number)
            tasks.create_task(campaign.halt.within_budget(pursue(campaign, number, tasks)))


async def pursue(campaign: Steps, number: int, tasks: asyncio.TaskGroup) -> None:
    """Take one candidate from nothing to what it taught; what failed in training goes back with its evidence."""
    candidate, report = await invent(campaign, number)
    while candidate is not None and not report.refused:
        trials = await campaign.explore(candidate)
        verdict = await campaign.assess(candidate, report, trials)
        await campaign.explain(candidate, trials, verdict)
        evidence = Evidence(report=report, trials=trials)
        if not campaign.may_repair(evidence):
            break
        candidate, report = await invent(campaign, number, evidence)
    await campaign.close(number)
    promote(campaign, tasks)


async def invent(campaign: Steps, number: int, failed: Evidence | None = None) -> tuple[Candidate | None, Report]:
    """Propose, or mend what failed; examine; repair what was refused, as long as repairs are left."""
    async with campaign.flow.desk:
        candidate, report = campaign.last_attempt(number)
        try:
            if candidate is None:
                candidate = await campaign.propose(number)
            elif failed is not None:
                candidate, report = await campaign.repair(candidate, failed), None
            if report is None:
                report = await campaign.examine(candidate)
            while campaign.may_repair(refused := Evidence(report=report)):
                candidate = await campaign.repair(candidate, refused)
                report = await campaign.examine(candidate)
        except NoProposal as nothing:
            report = await campaign.unwritten(number, candidate, nothing)
    return candidate, report


def promote(campaign: Steps, tasks: asyncio.TaskGroup) -> None:
    """Whoever has earned a higher stage starts there at once, beside what is explored."""
    for climb in campaign.promoted():
        tasks.create_task(campaign.halt.within_budget(ascend(campaign, climb, tasks)))


async def ascend(campaign: Steps, climb: Climb, tasks: asyncio.TaskGroup) -> None:
    """Train larger, on fresh seeds, and claim what that shows against the best baseline; then the next may climb on."""
    await campaign.climb(climb)
    promote(campaign, tasks)
    await campaign.measure(climb)
