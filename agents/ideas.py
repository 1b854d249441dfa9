"""Is a proposal the idea of an earlier one? A model reads both where the measures leave it open."""

from __future__ import annotations

import difflib

from agents.llm.client import Answer, Client, NoAnswer, Question
from agents.opinion import blinded
from agents.prompting import Section, fenced, prompt_of
from agents.replies.forms import SameIdea, read_form, schema_of
from agents.telling import one_line
from cognition.records import Candidate

_LONGEST = 400  # lines of a difference
_MOTIVATION = 1200


class IdeaJudge:
    """Asks the judge's models once for each doubtful candidate."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def same(self, candidate: Candidate, earlier: Candidate, *, horizon: int | None = None) -> bool | None:
        """Whether both are one idea; None where no answer could be read, which is no reason to refuse.

        Raises:
            BudgetExhausted: the budget has no room for another call.
            ValueError: not even the motivations fit into the prompt; says what to raise.
        """
        sections = [
            Section(title="The proposal's motivation", items=[one_line(candidate.motivation, _MOTIVATION)]),
            Section(title="The earlier one's motivation", items=[one_line(earlier.motivation, _MOTIVATION)]),
            Section(
                title="What differs, from the earlier one's source to the proposal's",
                items=[fenced(difference(earlier.source, candidate.source), "diff")],
                priority=1,
            ),
        ]
        question = Question(
            role="judge",
            purpose="novelty",
            prompt=prompt_of(
                "judge",
                "novelty",
                sections,
                fixed={"schema": schema_of(SameIdea)},
                max_tokens=self._client.settings.role("judge").max_input_tokens,
                system="novelty_system",
            ),
            number=candidate.number,
            attempt=candidate.attempt,
            arm=candidate.arm,
            candidate_id=candidate.candidate_id,
            form=SameIdea,
            horizon=horizon,
        )
        try:
            return await self._client.ask(question, _same)
        except NoAnswer:
            return None


def difference(earlier: str, later: str) -> str:
    """A unified difference of two sources without comments, docstrings and layout."""
    lines = difflib.unified_diff(blinded(earlier).splitlines(), blinded(later).splitlines(), lineterm="", n=2)
    found = list(lines)[2:]
    if len(found) > _LONGEST:
        found = [*found[:_LONGEST], f"... and {len(found) - _LONGEST} lines more"]
    return "\n".join(found) or "(the same statements)"


def _same(answer: Answer) -> bool:
    return read_form(answer, SameIdea).same
