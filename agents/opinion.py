"""The model judge: scores what no program measures, blind to author and name, by a rubric with anchors.

ASI-Arch's judge gave 30% to performance, 25% to innovation and 45% to complexity, with DeltaNet at 5 and Gated DeltaNet
at 10 (arXiv 2507.18074). Performance is measured here, so it is not asked for; the other two keep their proportion.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from agents.llm.client import Answer, Client, NoAnswer, Question
from agents.prompting import Section, fenced, prompt_of
from agents.replies.forms import Opinion, read_form, schema_of
from cognition.records import Candidate

INNOVATION_WEIGHT, COMPLEXITY_WEIGHT = 0.25, 0.45
LOWEST, HIGHEST = 1.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A source whose score is given."""

    source: str
    score: float

    def __post_init__(self) -> None:
        if not LOWEST <= self.score <= HIGHEST:
            raise ValueError(f"the judge's anchor is scored {self.score}: use {LOWEST:g} to {HIGHEST:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """Samples of one score."""

    samples: tuple[float, ...]  # 1..10

    @property
    def middle(self) -> float | None:
        return median(self.samples) if self.samples else None

    @property
    def spread(self) -> float | None:
        """Largest minus smallest; None with fewer than two samples."""
        return max(self.samples) - min(self.samples) if len(self.samples) > 1 else None


class OpinionJudge:
    """Asks the judge's models for several samples of a design's score."""

    def __init__(self, client: Client, anchors: Sequence[Anchor]) -> None:
        self._client = client
        shown = [f"## A design that scores {a.score:g} in both\n\n{fenced(blinded(a.source))}" for a in anchors]
        self._fixed: Mapping[str, str] = {"anchors": "\n\n".join(shown), "schema": schema_of(Opinion)}

    async def opinions(
        self, candidate: Candidate, *, purpose: str = "assess", number: int | None = None, horizon: int | None = None
    ) -> Opinions:
        """As many samples as are set, each its own question; those that cannot be had are left out.

        Raises:
            BudgetExhausted: the budget has no room for another call.
            ValueError: the source and the anchors do not fit into the prompt; says what to raise.
        """
        settings = self._client.settings
        prompt = prompt_of(
            "judge",
            "assess",
            [Section(title="The design", items=[fenced(blinded(candidate.source))])],
            fixed=self._fixed,
            max_tokens=settings.role("judge").max_input_tokens,
        )

        def asked(sample: int) -> Question:
            return Question(
                role="judge",
                purpose=purpose,
                prompt=prompt,
                number=candidate.number if number is None else number,
                attempt=candidate.attempt,
                sample=sample,
                arm=candidate.arm,
                candidate_id=candidate.candidate_id,
                form=Opinion,
                horizon=horizon,
            )

        found = await asyncio.gather(*(self._sample(asked(sample)) for sample in range(settings.judge_samples)))
        return Opinions(samples=tuple(score for score in found if score is not None))

    async def _sample(self, question: Question) -> float | None:
        try:
            return await self._client.ask(question, _score)
        except NoAnswer:
            return None


def quality_of(opinion: float) -> float:
    """A score of 1..10 as a quality of 0..1."""
    return (opinion - LOWEST) / (HIGHEST - LOWEST)


def blinded(source: str) -> str:
    """The source without what names it or its author: comments, texts that nothing reads, and layout.

    Not covered: what the names of classes and variables give away, and texts that are values.
    """
    try:
        return ast.unparse(_WithoutTexts().visit(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return source


class _WithoutTexts(ast.NodeTransformer):
    """Docstrings, and every other text that stands as a statement."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        plain = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if plain else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        node = super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _score(answer: Answer) -> float:
    opinion = read_form(answer, Opinion)
    total = INNOVATION_WEIGHT + COMPLEXITY_WEIGHT
    return (INNOVATION_WEIGHT * opinion.innovation + COMPLEXITY_WEIGHT * opinion.complexity) / total
