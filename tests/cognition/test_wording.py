"""Texts that say the same in the same words are told from texts that nearly do."""

from __future__ import annotations

import pytest

from cognition.wording import same_words, wording_of

NORMALISED = "Normalise keys to unit length before the delta rule, so its eigenvalues stay below one."


@pytest.mark.parametrize(
    "again",
    [
        NORMALISED,
        NORMALISED.upper(),
        "Normalizing the keys to unit lengths before the delta rule, since its eigenvalues should stay below 1",
        "Normalises its keys to unit length\nbefore the delta rule (as these eigenvalues have to stay below one)!",
    ],
)
def test_inflection_punctuation_spelling_and_filler_do_not_count(again: str) -> None:
    assert wording_of(NORMALISED) == wording_of(again)
    assert same_words(again, NORMALISED)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NORMALISED, NORMALISED.replace("Normalise", "Do not normalise")),
        (NORMALISED, NORMALISED.replace("Normalise", "Don't normalise")),
        (NORMALISED, NORMALISED.replace("Normalise", "Never normalise")),
        (NORMALISED, NORMALISED.replace("Normalise", "One cannot normalise")),
        (NORMALISED, NORMALISED.replace("before", "after")),
        (NORMALISED, NORMALISED.replace("below", "above")),
        (NORMALISED, NORMALISED.replace("keys", "queries")),
        ("large decay early, small late", "small decay early, large late"),
        ("keys decay faster than values", "values decay faster than keys"),
        ("keys decay faster than values", "keys decay slower than values"),
        ("keys gate values", "keys are gated by values"),
        ("use the output gate", "go without the output gate"),
        ("the output gate instead of the floor", "the output gate with the floor"),
        ("4 to 8 taps", "4 to 16 taps"),
        ("four to eight taps", "eight to four taps"),
        ("a decay of 0.9", "a decay of 0.99"),
        ("a bias of -2", "a bias of 2"),
        ("the identity + the product", "the identity - the product"),
        ("scores > 0.5", "scores < 0.5"),
        ("one decay for all heads", "one decay for each head"),
        ("one decay for all heads", "two decays for all heads"),
        ("late layers forget", "later layers forget"),
        ("the positive gate", "the position gate"),
        ("add the norm", "remove the norm"),
        ("gate queries only", "gate queries"),
        ("the gate \u03b1 decays", "the gate \u03b2 decays"),
    ],
)
def test_what_turns_an_idea_counts(first: str, second: str) -> None:
    assert not same_words(first, second)
    assert not same_words(second, first)


def test_two_ways_to_say_instead_and_each_are_one() -> None:
    assert same_words("a gate per head rather than a norm", "a gate for every head instead of a norm")


def test_a_text_without_words_says_nothing() -> None:
    assert wording_of(" ... ") == ()
