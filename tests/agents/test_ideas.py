"""A model's verdict on what the measures leave open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.ideas import IdeaJudge, difference
from agents.llm.client import Client
from agents.prompting import prompt_file
from tests.agents.readers import OLD, PARENT
from tests.agents.test_opinion import client

CANDIDATE = replace(PARENT.candidate, motivation="gate the state by surprise", source="class TokenMixer:\n    a = 2\n")
EARLIER = replace(OLD.candidate, motivation="gate the memory by surprise", source="class TokenMixer:\n    a = 1\n")


def asked(reply: str) -> Client:
    return client("judge", "novelty", (reply,), number=CANDIDATE.number)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reasoning": "both gate by surprise", "same": true}', True),
        ('Well:\n```json\n{"same": false}\n```', False),
        ("they look alike", None),
        ('{"same": "perhaps"}', None),
        ("", None),
    ],
)
async def test_a_verdict_is_read_and_what_cannot_be_read_is_none(reply: str, verdict: bool | None) -> None:
    assert await IdeaJudge(asked(reply)).same(CANDIDATE, EARLIER) is verdict


async def test_both_motivations_and_the_difference_are_shown_and_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    client = asked('{"same": false}')
    ask = client.ask

    async def watched(question, read):  # type: ignore[no-untyped-def]
        seen.append(question)
        return await ask(question, read)

    monkeypatch.setattr(client, "ask", watched)
    await IdeaJudge(client).same(CANDIDATE, EARLIER, horizon=3)
    (question,) = seen
    assert (question.role, question.purpose, question.number, question.horizon) == (
        *("judge", "novelty", CANDIDATE.number, 3),
    )
    for words in (CANDIDATE.motivation, EARLIER.motivation, "-    a = 1\n+    a = 2"):
        assert words in question.prompt.user
    assert EARLIER.name not in question.prompt.user
    assert '"same"' in question.prompt.system
    assert prompt_file("judge_novelty_system").version == 1


def test_a_difference_leaves_out_comments_and_says_what_it_cut() -> None:
    assert difference("a = 1  # one\n", "a = 1\n") == "(the same statements)"
    long = difference("", "\n".join(f"a{n} = {n}" for n in range(900)))
    assert len(long.splitlines()) == 401
    assert long.endswith("lines more")
