"""A language model as a proposer: one class for all arms that write with a model, live or recorded.

What the arms differ in (knowledge, analysis) is what the loop puts into their briefs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agents.brief import Brief, Evidence, Failed, Member
from agents.llm.client import Answer, Client, NoAnswer, Question, Unreadable
from agents.prompting import Prompt, Section, fenced, prompt_of
from agents.protocols import NoProposal
from agents.replies.proposal import GaveUp, Proposal, read_proposal
from agents.telling import (
    curve_line,
    evidence_text,
    failed_line,
    figures,
    insight_line,
    member_line,
    one_line,
    report_line,
)
from cognition.records import Candidate, Declared, candidate_id_of

_MOST_HISTORY = 40

Reader = Callable[[Answer], Candidate | GaveUp]


class LlmProposer:
    """Proposes and repairs by asking models through a client; keeps nothing between calls."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def propose(self, brief: Brief) -> Candidate:
        """A candidate of the brief's mode.

        Raises:
            NoProposal: no model gave usable code.
            BudgetExhausted: the budget has no room for another call.
        """
        summary = await self._summary(brief)
        prompt = self._prompt("researcher", _task(brief), _sections(brief, summary), brief)
        base = _base(brief)

        def read(answer: Answer) -> Candidate | GaveUp:
            proposal = read_proposal(answer, brief.entry, base)
            return proposal if isinstance(proposal, GaveUp) else _candidate(proposal, answer, brief)

        return await self._written(_question("researcher", "propose", brief, prompt), read)

    async def repair(self, candidate: Candidate, evidence: Evidence, brief: Brief) -> Candidate:
        """The next attempt at the same number, along the evidence; scores are not shown.

        Raises:
            NoProposal: no usable code, or the model gave up, with its reason.
            BudgetExhausted: as `propose`.
        """
        sections = [
            Section(title="What its author wanted", items=[one_line(candidate.motivation, 1200)], priority=1),
            Section(title="The source", items=[fenced(candidate.source)]),
            Section(title="The evidence", items=[evidence_text(evidence)]),
            Section(
                title="Earlier attempts at this number",
                items=[report_line(report) for report in brief.refusals[:-1]],
                priority=2,
            ),
        ]
        prompt = self._prompt("engineer", "repair", sections, brief)

        def read(answer: Answer) -> Candidate | GaveUp:
            proposal = read_proposal(answer, brief.entry, candidate.source)
            return proposal if isinstance(proposal, GaveUp) else _candidate(proposal, answer, brief, mended=candidate)

        return await self._written(_question("engineer", "repair", brief, prompt, candidate), read)

    async def _written(self, question: Question, read: Reader) -> Candidate:
        try:
            result = await self._client.ask(question, read)
        except NoAnswer as error:
            raise NoProposal(str(error)) from error
        if isinstance(result, GaveUp):
            raise NoProposal(f"gave up: {result.reason}")
        return result

    async def _summary(self, brief: Brief) -> str:
        """The history in the words of a cheap model, written afresh for this proposal; without one, nothing."""
        if not self._client.settings.plays("summary") or len(brief.history) < 2:
            return ""
        sections = [
            Section(title="Tried so far", items=[member_line(m) for m in _latest_first(brief.history)], priority=1),
            Section(title="Failed", items=[failed_line(failed) for failed in brief.failures[::-1]], priority=2),
        ]
        prompt = self._prompt("summary", "history", sections, brief)
        try:
            return await self._client.ask(_question("summary", "summarise", brief, prompt), _text)
        except NoAnswer:
            return ""

    def _prompt(self, role: str, task: str, sections: Sequence[Section], brief: Brief) -> Prompt:
        limit = self._client.settings.role(role).max_input_tokens
        fixed = {"contract": brief.contract.strip(), "entry": brief.entry} if role != "summary" else {}
        try:
            values = {"number": str(brief.number)}  # so that no two proposals are asked for in the same words
            return prompt_of(role, task, sections, fixed=fixed, values=values, max_tokens=limit)
        except ValueError as error:
            raise NoProposal(str(error)) from error


def _task(brief: Brief) -> str:
    """The mode, as far as there is what it works on."""
    if brief.mode == "repair" and brief.broken is not None:
        return "repair"
    if brief.mode == "combine" and len(brief.parents) > 1:
        return "combine"
    if brief.mode in ("simplify", "explore") and brief.parents:
        return brief.mode
    return "refine" if brief.parents else "explore"


def _base(brief: Brief) -> str | None:
    """The source that edits are against."""
    task = _task(brief)
    if task == "repair" and brief.broken is not None:
        return brief.broken.candidate.source
    return brief.parents[0].candidate.source if task in ("refine", "simplify") else None


def _sections(brief: Brief, summary: str) -> list[Section]:
    """What a researcher sees, in the order in which it is read; the rear ones go first where there is no room."""
    task = _task(brief)
    sections: list[Section] = []
    if task == "repair" and brief.broken is not None:
        sections += _broken(brief.broken)
    elif task == "explore":
        shown = brief.parents[:1] or brief.references[:1]
        sections += [_source("A source, for its form", member, brief, priority=3) for member in shown]
    else:
        num = 2 if task == "combine" else 1
        names = ("The parent", "The second parent")
        sections += [
            _source(name, member, brief, priority=0) for name, member in zip(names, brief.parents[:num], strict=False)
        ]
    if brief.weakness:
        sections.append(
            Section(title="What measures weak about it", items=[one_line(brief.weakness, 1500)], priority=1)
        )
    if brief.synthesis is not None:
        sections.append(
            Section(
                title="What the campaign has taught so far",
                items=[
                    brief.synthesis.text,
                    *_listed("Works", brief.synthesis.works),
                    *_listed("Worn out", brief.synthesis.worn_out),
                ],
                priority=1,
            )
        )
    if summary:
        sections.append(Section(title="The history in short", items=[summary], priority=1))
    sections += [
        Section(
            title="This number's earlier attempts, which were refused",
            items=[report_line(report) for report in brief.refusals],
            priority=1,
        ),
        Section(
            title="Findings of the analyst",
            intro="What bears most on this weakness and is surest stands first. Effects are differences of validation "
            "loss in nats per token: negative is better.",
            items=[insight_line(insight) for insight in brief.insights],
            priority=4,
        ),
        Section(
            title="From the literature",
            intro="What was retrieved for this weakness, the most relevant first.",
            items=[f"[{item.key}] {item.title}\n{item.text}\n" for item in brief.knowledge],
            priority=4,
        ),
        Section(
            title="The parent's ancestors, nearest first",
            items=[member_line(member) for member in brief.ancestors],
            priority=5,
        ),
        Section(
            title="Refused or broken elsewhere: do not repeat these",
            items=[failed_line(failed) for failed in brief.failures[::-1]],
            priority=3 if task == "explore" else 5,
        ),
        Section(
            title="Tried so far, the latest first",
            items=[member_line(member) for member in _latest_first(brief.history)],
            priority=2 if task == "explore" else 6,
        ),
        *(_source("For reference", member, brief, priority=7) for member in brief.references),
    ]
    return sections


def _source(title: str, member: Member, brief: Brief, *, priority: int) -> Section:
    candidate = member.candidate
    curve = brief.curves.get(candidate.candidate_id)
    told = [f"Motivation: {one_line(candidate.motivation, 700)}", f"Measured: {figures(member)}"]
    if curve:
        told.append(f"Its {curve_line(curve)}")
    return Section(
        title=f"{title}: candidate {candidate.number}, {one_line(candidate.name, 80)}",
        items=["\n".join([*told, "", fenced(candidate.source)])],
        priority=priority,
    )


def _broken(failed: Failed) -> list[Section]:
    candidate = failed.candidate
    return [
        Section(
            title=f"The broken candidate: {one_line(candidate.name, 80)}",
            items=[f"Motivation: {one_line(candidate.motivation, 700)}\n\n{fenced(candidate.source)}"],
        ),
        Section(title="What went wrong", items=[evidence_text(failed.evidence)]),
    ]


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [f"\n{title}:\n" + "\n".join(f"- {line}" for line in lines)] if lines else []


def _latest_first(history: Sequence[Member]) -> Sequence[Member]:
    return history[::-1][:_MOST_HISTORY]


def _question(role: str, purpose: str, brief: Brief, prompt: Prompt, about: Candidate | None = None) -> Question:
    return Question(
        role=role,
        purpose=purpose,
        prompt=prompt,
        number=brief.number,
        attempt=brief.attempt,
        arm=brief.arm,
        candidate_id=about.candidate_id if about else None,
        horizon=brief.horizon,
    )


def _candidate(proposal: Proposal, answer: Answer, brief: Brief, mended: Candidate | None = None) -> Candidate:
    task = _task(brief)
    if mended is not None:
        parent_ids = mended.parent_ids
    elif task == "repair" and brief.broken is not None:
        parent_ids = (brief.broken.candidate.candidate_id,)
    elif task == "explore":
        parent_ids = ()
    else:
        parent_ids = tuple(m.candidate.candidate_id for m in brief.parents[: 2 if task == "combine" else 1])
    name = one_line(proposal.head.name, 80) or (mended.name if mended else f"design_{brief.number}")
    motivation = proposal.motivation
    if proposal.head.expectation:
        motivation += f"\n\nExpected: {proposal.head.expectation}"
    return Candidate(
        candidate_id=candidate_id_of(proposal.source),
        number=brief.number,
        attempt=mended.attempt + 1 if mended else brief.attempt,
        arm=mended.arm if mended else brief.arm,
        slot=brief.slot,
        name=name,
        motivation=motivation,
        source=proposal.source,
        parent_ids=parent_ids,
        changes=tuple(dict.fromkeys(one_line(change, 200) for change in proposal.head.changes)),
        declared=_declared(proposal, brief),
        repairs=mended.candidate_id if mended else None,
        mode=mended.mode if mended else task,
        model=answer.model,
        created_at=brief.now,
    )


def _declared(proposal: Proposal, brief: Brief) -> tuple[Declared, ...]:
    """Where the author says that its elements come from; what it was not shown cannot be a source."""
    known = {item.key: "paper" for item in brief.knowledge} | {i.insight_id: "insight" for i in brief.insights}
    found = []
    for origin in proposal.head.origins:
        key = origin.id.strip(" []")
        found.append(
            Declared(
                element=one_line(origin.element, 200),
                source=known.get(key, "own" if origin.source == "own" else origin.source),
                item_id=key if key in known else "",
            )
        )
    return tuple(found)


def _text(answer: Answer) -> str:
    text = answer.text.strip()
    if not text:
        raise Unreadable("it is empty")
    return text[:4000]
