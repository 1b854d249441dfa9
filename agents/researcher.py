"""The Researcher: proposes one candidate for a brief, by whatever the brief's arm stands for."""

from __future__ import annotations

from collections.abc import Mapping

from agents.brief import Brief
from agents.grammar.proposer import GrammarProposer, GrammarSettings, RandomProposer
from agents.protocols import Proposer
from cognition.records import Candidate


def default_proposers(settings: GrammarSettings | None = None) -> dict[str, Proposer]:
    """The arms that need nothing from outside: the grammar, and the random control."""
    return {"grammar": GrammarProposer(settings), "random": RandomProposer()}


def proposer_of(proposers: Mapping[str, Proposer], arm: str) -> Proposer:
    """The proposer of an arm; ValueError names the arms that exist."""
    if arm not in proposers:
        raise ValueError(f"no proposer for arm {arm!r}; there are {', '.join(sorted(proposers))}")
    return proposers[arm]


class Researcher:
    """Holds one proposer per arm and no other state."""

    def __init__(self, proposers: Mapping[str, Proposer] | None = None) -> None:
        self.proposers = default_proposers() if proposers is None else proposers

    async def propose(self, brief: Brief) -> Candidate:
        """A candidate for the brief. Raises ValueError for an unknown arm."""
        return await proposer_of(self.proposers, brief.arm).propose(brief)
