from __future__ import annotations

import pytest

from agents.llm.client import Answer, Unreadable
from agents.replies.edits import EditError, applied, edits_in
from agents.replies.proposal import GaveUp, Proposal, read_proposal

MODULE = """import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        return self.proj(x)
"""
HEAD = '```json\n{"name": "a", "motivation": "why", "changes": ["x: y -> z"], "expectation": "less loss"}\n```\n'
EDIT = """<<<<<<< SEARCH
        return self.proj(x)
=======
        return 2 * self.proj(x)
>>>>>>> REPLACE"""


def read(text: str, base: str | None = None, cut_off: bool = False) -> str:
    return proposal(text, base, cut_off).source


def proposal(text: str, base: str | None = None, cut_off: bool = False) -> Proposal:
    found = read_proposal(Answer(text=text, cut_off=cut_off, model="m"), "TokenMixer", base)
    assert isinstance(found, Proposal)
    return found


@pytest.mark.parametrize(
    "wrapped",
    [
        f"{HEAD}```python\n{MODULE}```",
        f"{HEAD}```py\n{MODULE}```\nThat is all.",
        f"{HEAD}```\n{MODULE}```",
        f"{HEAD}~~~python\n{MODULE}~~~",
        f"{HEAD}'''python\n{MODULE}'''",
        f"{HEAD}````python\n{MODULE}````",
        f"{HEAD}```python\n{MODULE}",  # never closed
        f"Here is the code:\n{MODULE}\nI hope that it helps you, it's what you asked for.",
        f"First a sketch:\n```python\nx = 1\n```\nand now all of it\n```python\n{MODULE}```",
        "so " * 100_000 + f"\n\n```python\n{MODULE}```",
        f"{HEAD}```python\r\n{MODULE}```".replace("\n", "\r\n"),
    ],
    ids=["plain", "py", "bare", "tildes", "quotes", "four", "open", "prose", "two", "huge", "crlf"],
)
def test_a_module_is_found_however_it_is_wrapped(wrapped: str) -> None:
    assert read(wrapped) == MODULE


def test_edits_are_applied_to_the_base() -> None:
    assert read(f"{HEAD}```\n{EDIT}\n```", MODULE) == MODULE.replace("return self", "return 2 * self")
    assert "2 * " in read(EDIT, MODULE)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("", "it is empty"),
        ("I'm sorry, but I can't help with that.", "it declines"),
        ("A gate would help.", "no Python block that defines class TokenMixer"),
        ("```python\nclass TokenMixer(:\n    pass\n```", "does not parse, or has no class TokenMixer: line 1"),
        ("```python\nclass Mixer(nn.Module):\n    pass\n```", "the class is missing"),
        (EDIT.replace("self.proj(x)", "self.project(x)"), "edit 1 does not apply: the line 'return self.project(x)'"),
        (EDIT.replace(">>>>>>> REPLACE", ""), "an edit is not complete"),
        (EDIT, "no Python block"),
    ],
)
def test_what_cannot_be_used_gets_a_precise_complaint(reply: str, complaint: str) -> None:
    with pytest.raises(Unreadable) as told:
        read(reply, None if reply == EDIT else MODULE)
    assert complaint in str(told.value)


def test_nesting_that_breaks_parsers_is_a_complaint() -> None:
    deep = "class TokenMixer:\n    x = " + "(" * 5000 + "\n"
    minus = "class TokenMixer:\n    x = " + "-" * 200_000 + "1\n"
    for text in (deep, minus):
        with pytest.raises(Unreadable):
            read(f"```python\n{text}```")


def test_an_engineer_may_give_up_with_a_reason() -> None:
    reply = '```json\n{"give_up": "the idea needs the future"}\n```'
    found = read_proposal(Answer(text=reply, cut_off=False, model="m"), "TokenMixer", MODULE)
    assert found == GaveUp(reason="the idea needs the future")


def test_the_motivation_stands_in_front_or_in_the_head() -> None:
    first = proposal(f"Because.\n```python\n{MODULE}```")
    assert first.motivation == "Because."
    second = proposal(f"{HEAD}```python\n{MODULE}```")
    assert (second.motivation, second.head.changes) == ("why", ["x: y -> z"])


def test_an_edit_finds_lines_without_their_indentation_or_trailing_spaces() -> None:
    bare = EDIT.replace("        return", "return")
    assert applied(MODULE, edits_in(bare)) == MODULE.replace("return self", "return 2 * self")
    spaced = EDIT.replace("self.proj(x)\n===", "self.proj(x)   \n===")
    assert applied(MODULE, edits_in(spaced)) == MODULE.replace("return self", "return 2 * self")


def test_an_edit_has_to_be_unambiguous_and_leaves_nothing_half_done() -> None:
    twice = MODULE + "\n\n" + MODULE.replace("TokenMixer", "Other")
    with pytest.raises(EditError, match=r"stand 2 times \(from lines 11, 24\)"):
        applied(twice, edits_in(EDIT))
    second_fails = EDIT + "\n" + EDIT.replace("self.proj(x)", "nothing(x)", 1)
    with pytest.raises(EditError, match="edit 2 does not apply"):
        applied(MODULE, edits_in(second_fails))
    with pytest.raises(EditError, match="empty SEARCH"):
        applied(MODULE, edits_in("<<<<<<< SEARCH\n=======\nx\n>>>>>>> REPLACE"))


def test_several_edits_and_deletions_apply_in_order() -> None:
    edits = edits_in(
        EDIT
        + "\n<<<<<<< SEARCH\n        return 2 * self.proj(x)\n=======\n        y = x\n        return y\n>>>>>>> REPLACE"
        "\n<<<<<<< SEARCH\nimport torch\n=======\n>>>>>>> REPLACE"
    )
    changed = applied(MODULE, edits)
    assert changed.startswith("from torch import nn")
    assert changed.endswith("        y = x\n        return y\n")
