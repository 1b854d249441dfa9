from __future__ import annotations

import math

import pytest

from agents.ledger import BudgetLedger, Cost, Limits, Refusal, Reservation, Spend
from agents.protocols import Ledger


def held(answer: Reservation | Refusal) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


def test_what_is_reserved_counts_until_it_is_settled() -> None:
    ledger: Ledger = BudgetLedger(Limits(usd=1.0))
    first = held(ledger.reserve("explore/llm", Cost(usd=0.8)))
    refusal = ledger.reserve("explore/llm", Cost(usd=0.3))
    assert isinstance(refusal, Refusal)
    assert "usd: 0.8 spent or held and 0.3 asked for exceed the limit 1" in refusal.reason
    ledger.settle(first, Cost(usd=0.1))
    held(ledger.reserve("explore/llm", Cost(usd=0.3)))


def test_each_limit_is_its_own_and_none_is_no_limit() -> None:
    ledger = BudgetLedger(Limits(slot_hours=1.0))
    held(ledger.reserve("a", Cost(usd=1e9)))
    held(ledger.reserve("a", Cost(slot_hours=1.0)))
    assert isinstance(ledger.reserve("a", Cost(slot_hours=0.01)), Refusal)
    held(ledger.reserve("a", Cost(usd=1.0)))  # costs no slot hours: the full one does not stand in its way


def test_spend_is_summed_per_account_and_unanswered_reservations_stay() -> None:
    ledger = BudgetLedger(Limits())
    one = held(ledger.reserve("explore/grammar", Cost(slot_hours=2.0)))
    lost = held(ledger.reserve("explore/grammar", Cost(slot_hours=3.0)))
    ledger.settle(one, Cost(slot_hours=2.5))
    held(ledger.reserve("verify/random", Cost(slot_hours=1.0)))
    assert ledger.spent() == (
        Spend(
            account="explore/grammar",
            settled=Cost(slot_hours=2.5),
            held=Cost(slot_hours=3.0),
            num_settled=1,
            num_held=1,
        ),
        Spend(account="verify/random", held=Cost(slot_hours=1.0), num_held=1),
    )
    assert ledger.unanswered()[0] == lost
    assert ledger.total() == Cost(slot_hours=6.5)


def test_a_reservation_is_settled_once() -> None:
    ledger = BudgetLedger(Limits())
    reservation = held(ledger.reserve("a", Cost(usd=1.0)))
    ledger.settle(reservation, Cost(usd=0.5))
    with pytest.raises(ValueError, match="settle it once"):
        ledger.settle(reservation, Cost(usd=0.5))
    assert ledger.total() == Cost(usd=0.5)


def test_a_resumed_ledger_remembers_what_was_spent_and_held() -> None:
    before = BudgetLedger(Limits(usd=2.0))
    before.settle(held(before.reserve("a", Cost(usd=1.0))), Cost(usd=0.5))
    held(before.reserve("a", Cost(usd=0.7)))
    after = BudgetLedger(Limits(usd=2.0))
    after.restore(before.spent())
    assert after.spent() == before.spent()
    assert isinstance(after.reserve("a", Cost(usd=1.0)), Refusal)
    held(after.reserve("a", Cost(usd=0.8)))


@pytest.mark.parametrize("figure", [-1.0, math.nan, math.inf])
def test_impossible_figures_are_refused(figure: float) -> None:
    with pytest.raises(ValueError, match=r"cost\.usd is"):
        Cost(usd=figure)
    if figure != math.inf:
        with pytest.raises(ValueError, match=r"limits\.usd is"):
            Limits(usd=figure)


def test_what_is_held_leaves_nothing_behind_however_often_it_comes_and_goes() -> None:
    ledger = BudgetLedger(Limits(slot_hours=1.0))
    for number in range(500):
        held = [ledger.reserve("a", Cost(slot_hours=0.1 / (1 + number % 7), usd=0.1, tokens=number)) for _ in range(9)]
        assert ledger.held().tokens == 9 * number
        for reservation in held:
            assert isinstance(reservation, Reservation)
            ledger.release(reservation)
        assert ledger.held() == Cost()
    assert isinstance(ledger.reserve("a", Cost(slot_hours=1.0)), Reservation), "the whole limit is there again"
