"""What becomes of a model's own notes on its proposal."""

from __future__ import annotations

from agents.brief import Knowledge
from agents.llm.client import Answer
from agents.llm_proposer import _candidate
from agents.replies.proposal import GaveUp, read_proposal
from cognition.records import Declared
from tests.agents.readers import INSIGHT, MIXER, brief

HEAD = """
{"name": "x", "motivation": "m", "changes": ["gate: none -> sigmoid", "gate: none -> sigmoid", "taps: 3 -> 5"],
 "origins": [{"element": "gate: none -> sigmoid", "source": "paper", "id": "[gla/per_channel_decay]"},
             {"element": "taps: 3 -> 5", "source": "paper", "id": "never/shown"},
             {"element": "taps: 3 -> 5", "source": "insight", "id": "00112233445566aa"},
             {"element": "", "source": "nowhere"}, "text"]}
"""


def read(head: str, **known: object) -> tuple[tuple[str, ...], tuple[Declared, ...]]:
    text = f"```json\n{head}\n```\n\n```python\n{MIXER.replace('TAPS', '3')}\n```"
    answer = Answer(text=text, cut_off=False, model="openai/m")
    proposal = read_proposal(answer, "TokenMixer", None)
    assert not isinstance(proposal, GaveUp)
    candidate = _candidate(proposal, answer, brief(**known))
    return candidate.changes, candidate.declared


def test_a_change_that_is_named_twice_is_one_change() -> None:
    assert read(HEAD)[0] == ("gate: none -> sigmoid", "taps: 3 -> 5")


def test_only_what_was_shown_can_be_a_source_and_notes_that_cannot_be_read_are_left_out() -> None:
    entry = Knowledge(key="gla/per_channel_decay", title="t", text="x")
    _, declared = read(HEAD, knowledge=(entry,), insights=(INSIGHT,))
    assert [(item.source, item.item_id) for item in declared] == [
        ("paper", "gla/per_channel_decay"),
        ("paper", ""),
        ("insight", INSIGHT.insight_id),
    ]


def test_a_proposal_does_not_fail_for_its_footnotes() -> None:
    assert read('{"name": "x", "changes": "one", "origins": "mine"}') == (("one",), ())
