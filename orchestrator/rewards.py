"""What a model's work was worth: rows that the bandit learns from. Pure functions.

A proposal is worth 0.25 when it passes the gate, 0.5 when it trains, 1 when its loss beats that of its parent (of the
reference where it has none); a repair is worth 1 when it holds. Opinions and explanations are worth how many of them
could be read. Whoever was asked and did not deliver gets 0 with what it cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.brief import Member
from cognition.records import Candidate, Report, Reward, Trial, Verdict

PURPOSES: Mapping[str, str] = {
    "researcher": "propose",
    "engineer": "repair",
    "judge": "assess",
    "analyst": "explain",
    "summary": "summarise",
}
"""What each role is rewarded for."""


def proposal_reward(
    candidate: Candidate,
    report: Report,
    trials: Sequence[Trial],
    verdict: Verdict | None,
    compared: Member | None,
) -> tuple[float, str]:
    """The reward of a first attempt, and why."""
    if report.refused:
        return 0.0, report.kind.value
    if not trials or not all(trial.succeeded for trial in trials):
        return 0.25, "passed the gate, failed in training"
    theirs = compared.verdict.loss if compared is not None and compared.verdict is not None else None
    ours = verdict.loss if verdict is not None else None
    if verdict is not None and verdict.fitness is None:
        return 0.25, "trained, and not believed"
    if ours is not None and theirs is not None and ours < theirs:
        return 1.0, f"better than {'its parent' if candidate.parent_ids else 'the reference'}"
    return 0.5, "trained"


def repair_reward(report: Report, trials: Sequence[Trial]) -> tuple[float, str]:
    """The reward of a further attempt, and why."""
    if report.refused:
        return 0.0, report.kind.value
    held = bool(trials) and all(trial.succeeded for trial in trials)
    return (1.0, "holds") if held else (0.5, "passed the gate, failed in training")


def rewards_for(
    role: str, number: int, attempt: int, costs: Mapping[str, float], winner: str | None, value: float, why: str
) -> tuple[Reward, ...]:
    """A row for each model that was asked: the winner's is the value, the others' 0.

    Args:
        costs: US dollars by model, of all calls of that role for that attempt.
        winner: the model whose work it is; None: nobody's.
    """
    return tuple(
        Reward(
            role=role,
            number=number,
            attempt=attempt,
            model=model,
            reward=value if model == winner else 0.0,
            usd=usd,
            reason=why if model == winner else "gave nothing usable",
        )
        for model, usd in sorted(costs.items())
    )
