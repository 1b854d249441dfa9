from __future__ import annotations

import unicodedata

import pytest

from cognition.printable import first_unseen, one_line, printable, shown


@pytest.mark.parametrize(
    "code", [0x1B, 0x9B, 0x202E, 0x200B, 0x2028, 0xE0041, 0xFE0F, 0xD800, 0xE000], ids=lambda code: f"U+{code:04X}"
)
def test_what_nobody_sees_becomes_a_space(code: int) -> None:
    letter = chr(code)
    assert printable(f"a{letter}b") == "a b"
    assert first_unseen(f"a{letter}b") == 1
    assert one_line(f" a{letter}\n b") == "a b"


def test_letters_signs_and_accents_stay() -> None:
    text = "Überblick — αβ ∑ 注意力 e\u0301"
    assert printable(text) == text
    assert first_unseen(text) is None
    formats = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"]
    assert set(map(printable, formats)) == {" "}


def test_values_are_quoted() -> None:
    values: list[object] = [7, "a\x1b", None, {"a": [1]}, 16**9_000]
    assert list(map(shown, values)) == ["7", r"'a\x1b'", "None", "{'a': [1]}", "a int too long to show"]


def test_a_quoted_value_is_short_whatever_is_in_it() -> None:
    nested: list[object] = ["x" * 100]
    for _ in range(40):
        nested = [nested] * 9
    for value in (nested, "x" * 10_000, "\x1b" * 10_000, {f"key {num}": "x" * 99 for num in range(99)}):
        assert len(shown(value)) <= 80
