"""A proposer that reads from a script: for tests, demonstrations, and people who bring their own attempts."""

from __future__ import annotations

from collections.abc import Sequence

from agents.brief import Brief, Evidence
from cognition.records import Candidate, candidate_id_of


class ScriptedProposer:
    """Number n gets the attempts of `scripts[n % len(scripts)]`: the first is proposed, the others are its repairs.

    When a script is used up its last attempt is handed in again, which the novelty check refuses as a duplicate.
    """

    def __init__(self, scripts: Sequence[Sequence[str]]) -> None:
        if not scripts or not all(scripts):
            raise ValueError("a scripted proposer needs at least one script, each with at least one source text")
        self.scripts = tuple(tuple(script) for script in scripts)

    async def propose(self, brief: Brief) -> Candidate:
        """The script's text for the brief's attempt."""
        return self._candidate(brief, brief.arm, brief.attempt, repairs=None)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The script's next text; the motivation says what it answers."""
        del evidence  # a script knows already; the campaign's rows keep it
        return self._candidate(brief, candidate.arm, candidate.attempt + 1, repairs=candidate.candidate_id)

    def _candidate(self, brief: Brief, arm: str, attempt: int, repairs: str | None) -> Candidate:
        script = self.scripts[brief.number % len(self.scripts)]
        source = script[min(attempt, len(script) - 1)]
        return Candidate(
            candidate_id=candidate_id_of(source),
            number=brief.number,
            attempt=attempt,
            arm=arm,
            slot=brief.slot,
            name=f"scripted {brief.number}.{attempt}",
            motivation="written in a script",
            source=source,
            repairs=repairs,
            created_at=brief.now,
        )
