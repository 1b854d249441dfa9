"""Shapes: N windows, T time."""

from __future__ import annotations

import ast
import textwrap
from collections import Counter

import numpy as np
import pytest

from models.batch import IGNORED
from models.data.tokenization import BYTES, END_OF_DOCUMENT, train_bpe
from models.minimal_pairs import PairSpec, pair_set, python_source
from models.minimal_pairs.spec import GRAMMARS
from models.minimal_pairs.words import Pair

MANY = 60
EVERY = [(grammar, name) for grammar, phenomena in GRAMMARS.items() for name in phenomena]


def _pairs(grammar: str, name: str, num: int = MANY) -> list[Pair]:
    rng = np.random.default_rng(3)
    return [GRAMMARS[grammar][name](rng) for _ in range(num)]


@pytest.mark.parametrize(("grammar", "name"), EVERY)
def test_the_texts_of_a_pair_differ_and_hardly_any_pair_comes_twice(grammar: str, name: str) -> None:
    pairs = _pairs(grammar, name)
    assert all(pair.good != pair.bad for pair in pairs)
    assert len(set(pairs)) > MANY // 3
    assert pairs == _pairs(grammar, name)


@pytest.mark.parametrize("name", GRAMMARS["python"])
def test_python_pairs_have_one_length_and_begin_alike(name: str) -> None:
    for pair in _pairs("python", name):
        assert len(pair.good) == len(pair.bad), pair
        assert pair.good[0] == pair.bad[0] or name == "keyword_order", pair


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _whole(name: str, text: str) -> str:
    """A program around a piece of one."""
    text = textwrap.dedent(text)
    if name == "attribute_used":
        text = (
            "class C:\n    def f(self):\n"
            + textwrap.indent(text.split("\n", 1)[0], " " * 8)
            + "\n"
            + textwrap.indent(textwrap.dedent(text.split("\n", 1)[1]), " " * 4)
        )
    if text.rstrip().endswith(":"):
        text = text.rstrip("\n") + "\n" + " " * (len(text.rstrip("\n").split("\n")[-1]) and 40) + "pass\n"
    if text.startswith("elif"):
        text = "if x:\n    pass\n" + text
    if text.startswith("except"):
        text = "try:\n    pass\n" + text
    return text


_SYNTAX = ("bracket", "quote", "colon", "indentation", "keyword_order", "keyword_spelled")
_MEANING = ("module_used", "name_used", "attribute_used", "self_first")


@pytest.mark.parametrize("name", _SYNTAX)
def test_what_is_acceptable_parses_and_the_other_does_not(name: str) -> None:
    for pair in _pairs("python", name):
        assert _parses(_whole(name, pair.good)), pair.good
        assert not _parses(_whole(name, pair.bad)), pair.bad


@pytest.mark.parametrize("name", _MEANING)
def test_where_a_name_is_meant_both_parse_and_the_right_one_was_named_before(name: str) -> None:
    for pair in _pairs("python", name):
        assert _parses(_whole(name, pair.good)), pair.good
        assert _parses(_whole(name, pair.bad)), pair.bad
    assert set(_SYNTAX) | set(_MEANING) == set(python_source.PHENOMENA)


@pytest.mark.parametrize("name", ["module_used", "name_used", "attribute_used"])
def test_the_name_that_is_right_stands_in_the_context_and_the_other_does_not(name: str) -> None:
    for pair in _pairs("python", name):
        same = next(place for place, (a, b) in enumerate(zip(pair.good, pair.bad, strict=True)) if a != b)
        start = max(pair.good.rfind(mark, 0, same + 1) for mark in " .") + 1
        good, bad = (text[start:].split(".")[0].strip() for text in (pair.good, pair.bad))
        assert good in pair.good[:start], pair
        assert bad not in pair.good[:start].replace("(", " ").split(), pair


@pytest.mark.parametrize("name", ["subject_verb", "distant_subject", "determiner", "reflexive", "irregular_form"])
def test_english_pairs_differ_in_one_word_and_no_word_is_always_the_right_one(name: str) -> None:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for pair in _pairs("english", name, 400):
        good, bad = pair.good.split(), pair.bad.split()
        differing = [(a.strip("."), b.strip(".")) for a, b in zip(good, bad, strict=True) if a != b]
        assert len(differing) == 1, pair
        right[differing[0][0]] += 1
        wrong[differing[0][1]] += 1
    for word in right | wrong:
        assert 0.2 < right[word] / (right[word] + wrong[word]) < 0.8, word


def test_a_stage_takes_its_pairs_from_every_phenomenon_evenly_and_the_grammar_from_the_corpus() -> None:
    spec = PairSpec(num=40)
    num = len(GRAMMARS["python"])
    assert (
        spec.texts(1, is_source_code=True) == spec.texts(1, is_source_code=True) != spec.texts(2, is_source_code=True)
    )
    first = spec.texts(1, is_source_code=True)
    assert len(first) == 40
    assert all(pair.good.startswith("import ") for pair in first[list(GRAMMARS["python"]).index("module_used") :: num])
    assert all(pair.good.endswith(".") for pair in spec.texts(1, is_source_code=False))
    assert PairSpec(num=40, grammar="english").texts(1, is_source_code=True) == spec.texts(1, is_source_code=False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num": 1}, "minimal_pairs.num is 1"),
        ({"num": 1.5}, "num is 1.5"),
        ({"grammar": "french"}, "minimal_pairs.grammar is 'french'; use one of auto, python, english"),
        ({"in_benchmark": 1}, "minimal_pairs.in_benchmark is 1"),
    ],
)
def test_impossible_specs_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PairSpec(**values)  # type: ignore[arg-type]


def test_windows_of_bytes_hold_the_whole_text_behind_a_line_end() -> None:
    found = pair_set([Pair("ab\n", "a\n\n"), Pair("longer\n", "lenger\n")], BYTES)
    assert found.inputs.shape == (4, 7)
    assert bytes(found.inputs[0, :3].astype(np.uint8)) == b"\nab"
    assert bytes(found.targets[0, :3].astype(np.uint8)) == b"ab\n"
    assert (found.targets[0, 3:] == IGNORED).all()
    assert bytes(found.targets[3].astype(np.uint8)) == b"lenger\n"


def test_windows_of_a_bpe_begin_behind_the_end_of_a_document_and_do_not_count_the_next_end() -> None:
    tokenizer = train_bpe([b"the teacher is old. the teachers are old."] * 20, 280)
    end = tokenizer.end_of_document
    found = pair_set([Pair("the teacher is old.", "the teacher are old.")], tokenizer)
    assert end is not None
    assert tokenizer.definition is not None
    assert END_OF_DOCUMENT in tokenizer.definition
    assert (found.inputs[:, 0] == end).all()
    counted = [row[row != IGNORED] for row in found.targets]
    assert not any((row == end).any() for row in counted)
    plain = tokenizer.encode([b"the teacher is old."])
    assert counted[0].tolist() == plain.tokens[:-1].tolist()
