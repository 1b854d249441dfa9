"""The model analyst: words claims over measured comparisons, and condenses many of them.

Effects, intervals and trial ids come from what was measured; a claim that names no trials, trials that it was not shown
or a comparison that was not made is dropped. Not covered: the words of a claim, which may say something else than its
figures do; who reads it sees both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from agents.analyst import Context
from agents.brief import Member
from agents.llm.client import Answer, Client, NoAnswer, Question, Unreadable
from agents.prompting import Section, fenced, prompt_of
from agents.replies.forms import ClaimForm, Explanation, SynthesisForm, read_form, schema_of
from agents.telling import figures, insight_line, member_line, one_line
from cognition.lineage import diff_to_parent
from cognition.records import Candidate, Insight, Synthesis, Trial, Verdict

_MOST_SYNTHESISED = 200
_LONGEST_DIFF = 12_000  # characters


class ExplainingAnalyst:
    """Asks the analyst's models."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def explain(
        self,
        candidate: Candidate,
        trials: Sequence[Trial],
        verdict: Verdict,
        context: Context,
        measured: Sequence[Insight],
    ) -> tuple[Insight, ...]:
        """Claims in words over the measured insights; none where no model answers, or nothing was measured.

        Raises:
            BudgetExhausted: the budget has no room for another call.
        """
        if not measured:
            return ()
        shown = {trial_id for insight in measured for trial_id in insight.evidence}
        prompt = prompt_of(
            "analyst",
            "explain",
            _told(candidate, trials, verdict, context, measured),
            fixed={"schema": schema_of(Explanation)},
            max_tokens=self._client.settings.role("analyst").max_input_tokens,
        )
        question = Question(
            role="analyst",
            purpose="explain",
            prompt=prompt,
            number=candidate.number,
            attempt=candidate.attempt,
            arm=candidate.arm,
            candidate_id=candidate.candidate_id,
            form=Explanation,
        )

        def read(answer: Answer) -> tuple[Insight, ...]:
            form = read_form(answer, Explanation)
            compared = {insight.against for insight in measured}
            claims = [
                claim
                for claim in form.claims
                if claim.evidence and set(claim.evidence) <= shown and claim.against in compared
            ]
            if not claims:
                raise Unreadable(
                    "no claim rests on trial ids that were shown, against what was compared "
                    f"({', '.join(sorted(compared))}); give each claim ids from the findings"
                )
            return tuple(_insight(claim, form.expectation, candidate, measured) for claim in claims)

        try:
            return await self._client.ask(question, read)
        except NoAnswer:
            return ()

    async def synthesise(self, turn: int, number: int, insights: Sequence[Insight]) -> Synthesis | None:
        """What the insights say together; None where no model answers.

        Raises:
            BudgetExhausted: as `explain`.
        """
        known = {insight.insight_id for insight in insights}
        lines = [insight_line(insight) for insight in insights[::-1][:_MOST_SYNTHESISED]]
        prompt = prompt_of(
            "analyst",
            "synthesis",
            [Section(title="Findings, the latest first", items=lines, priority=1)],
            fixed={"schema": schema_of(Explanation)},
            values={"schema": schema_of(SynthesisForm)},
            max_tokens=self._client.settings.role("analyst").max_input_tokens,
        )
        question = Question(role="analyst", purpose="synthesise", prompt=prompt, number=turn, form=SynthesisForm)

        def read(answer: Answer) -> Synthesis:
            form = read_form(answer, SynthesisForm)
            return Synthesis(
                round=turn,
                number=number,
                text=form.text,
                works=tuple(form.works),
                worn_out=tuple(form.worn_out),
                cites=tuple(cited for cited in form.cites if cited in known),
                model=answer.model,
            )

        try:
            return await self._client.ask(question, read)
        except NoAnswer:
            return None


def _told(
    candidate: Candidate,
    trials: Sequence[Trial],
    verdict: Verdict,
    context: Context,
    measured: Sequence[Insight],
) -> list[Section]:
    member = Member(candidate=candidate, trials=tuple(trials), verdict=verdict)
    parent = context.parents[0] if context.parents else None
    own = f"{one_line(candidate.name, 80)}: {figures(member)}"
    return [
        Section(
            title="Measured comparisons",
            intro="Effects: differences of validation loss in nats per token, 95% intervals; negative is better.",
            items=[f"{insight_line(i)} Trials: {', '.join(i.evidence)}" for i in measured if i.source == "measured"],
        ),
        Section(title="The design", items=[own, f"Its author wrote: {one_line(candidate.motivation, 1500)}"]),
        Section(title="Changes", items=[f"- {change}" for change in candidate.changes]),
        Section(title="The parent", items=[member_line(parent)] if parent else [], priority=1),
        Section(
            title="Difference to the parent",
            items=[fenced(diff_to_parent(candidate, parent.candidate)[:_LONGEST_DIFF], "diff")] if parent else [],
            priority=3,
        ),
        Section(title="Its source", items=[] if parent else [fenced(candidate.source)], priority=3),
        Section(title="Siblings", items=[member_line(sibling) for sibling in context.siblings[:6]], priority=2),
        Section(title="The baseline", items=[member_line(context.baseline)] if context.baseline else [], priority=1),
    ]


def _insight(claim: ClaimForm, expectation: str, candidate: Candidate, measured: Sequence[Insight]) -> Insight:
    """The claim on the comparison that it is about; its figures are that comparison's."""
    own = [insight for insight in measured if insight.against == claim.against]
    by_change = [insight for insight in own if claim.change and insight.change == claim.change]
    basis = (by_change or own)[0]
    key = "\n".join((basis.insight_id, claim.statement))
    return replace(
        basis,
        insight_id=hashlib.sha256(key.encode()).hexdigest()[:16],
        claim=claim.statement,
        change=claim.change if claim.change in candidate.changes else None,
        subject=basis.subject if claim.change in candidate.changes else "",
        evidence=tuple(claim.evidence),
        source="llm",
        expectation=expectation,
    )
