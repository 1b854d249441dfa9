from __future__ import annotations

import pytest

from agents.llm.client import Answer, Unreadable
from agents.replies.forms import Explanation, Opinion, json_in, read_form

GOOD = '{"reasoning": "r", "innovation": 4, "complexity": 7.5}'


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n```\n{GOOD}\n```\nAnything else?",
        f"My scores are {GOOD} as asked.",
        "{'reasoning': 'r', 'innovation': 4, 'complexity': 7.5,}",
        '{"reasoning": "r", "innovation": 4, "complexity": 7.5',
        '{"reasoning": "r", "innovation": "4", "complexity": "7.5"}',
        "so " * 100_000 + GOOD,
    ],
)
def test_a_form_is_read_in_whatever_it_is_wrapped(reply: str) -> None:
    opinion = read_form(Answer(text=reply, cut_off=False, model="m"), Opinion)
    assert (opinion.innovation, opinion.complexity) == (4, 7.5)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("", "no JSON object"),
        ("I'd say a solid seven.", "no JSON object"),
        ('{"innovation": 11, "complexity": 5}', "innovation: Input should be less than or equal to 10"),
        ('{"innovation": 5}', "complexity: Field required"),
        ('{"innovation": NaN, "complexity": 5}', "innovation"),
        ("[1, 2]", "no JSON object"),
    ],
)
def test_what_does_not_fit_is_named(reply: str, complaint: str) -> None:
    with pytest.raises(Unreadable) as told:
        read_form(Answer(text=reply, cut_off=False, model="m"), Opinion)
    assert complaint in str(told.value)
    assert "innovation" in str(told.value)


def test_a_claim_against_anything_else_is_refused() -> None:
    with pytest.raises(Unreadable, match="against"):
        read_form(
            Answer(text='{"claims": [{"statement": "it is better", "against": "me"}]}', cut_off=False, model="m"),
            Explanation,
        )


def test_the_first_of_several_objects_counts() -> None:
    assert json_in('{"a": 1}\n\n{"b": 2}') == {"a": 1}
