from __future__ import annotations

from importlib import resources

import pytest

from agents.prompting import Section, correction, fenced, prompt_file, prompt_of, trimmed


def sections(num: int = 4, length: int = 1000) -> list[Section]:
    return [
        Section(title="Code", items=["x" * length], priority=0),
        Section(title="Findings", items=["f" * length] * num, priority=2),
        Section(title="History", items=["h" * length] * num, priority=5),
    ]


def test_the_least_important_goes_first_and_items_stay_whole() -> None:
    kept = trimmed(sections(), 5600)
    assert kept is not None
    assert [(section.title, len(section.items)) for section in kept] == [("Code", 1), ("Findings", 4)]
    kept = trimmed(sections(), 3300)
    assert kept is not None
    assert [(section.title, len(section.items)) for section in kept] == [("Code", 1), ("Findings", 2)]
    assert all(len(item) == 1000 for section in kept for item in section.items)


def test_what_has_to_be_there_is_never_cut() -> None:
    assert trimmed(sections(), 900) is None
    with pytest.raises(ValueError, match=r"raise llm\.roles\.summary\.max_input_tokens"):
        prompt_of("summary", "history", sections(length=9000), max_tokens=600)


def test_prompts_keep_to_their_limit() -> None:
    for limit in (600, 2000, 8000):
        prompt = prompt_of(
            "summary", "history", [Section(title="T", items=["t" * 300] * 400, priority=1)], max_tokens=limit
        )
        assert len(prompt.system) + len(prompt.user) <= 3 * limit
        assert len(prompt.system) + len(prompt.user) > 2 * limit or limit == 600


def test_sections_without_items_leave_no_heading() -> None:
    prompt = prompt_of("summary", "history", [Section(title="Nothing", items=[])], max_tokens=2000)
    assert "Nothing" not in prompt.user


def test_every_prompt_file_has_a_version() -> None:
    names = [path.name[:-3] for path in (resources.files("agents") / "prompts").iterdir() if path.name.endswith(".md")]
    assert len(names) >= 14
    assert all(prompt_file(name).version >= 1 for name in names)


def test_code_cannot_close_its_fence() -> None:
    assert fenced('x = """\n```\n"""').startswith("````python")


def test_a_dollar_sign_in_what_is_told_is_left_alone() -> None:
    told = [Section(title="T", items=["costs $5, ${sections}"], priority=0)]
    assert "costs $5, ${sections}" in prompt_of("summary", "history", told, max_tokens=2000).user
    assert "$5" in correction("it costs $5")
