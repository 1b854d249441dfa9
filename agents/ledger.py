"""The ledger: limits on dollars, tokens, hours of slots and GPUs, booked at the worst cost before anything is paid.

A reservation counts against the limit until it is settled. One that is never answered keeps counting: nobody knows
whether it was paid. Not safe for threads; one actor or one event loop owns a ledger.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from cognition.records import Charge

UNITS = ("usd", "slot_hours", "gpu_hours", "tokens")
_EXACT = 1 << 96  # sums are kept in this part of a unit: what is added and taken away again leaves nothing behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Dollars and tokens of models, hours of slots and of GPUs, each finite and not negative (ValueError otherwise)."""

    usd: float = 0.0
    slot_hours: float = 0.0
    gpu_hours: float = 0.0
    tokens: int = 0

    def __post_init__(self) -> None:
        for name in UNITS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"cost.{name} is {value}; a cost is finite and not negative")

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            usd=self.usd + other.usd,
            slot_hours=self.slot_hours + other.slot_hours,
            gpu_hours=self.gpu_hours + other.gpu_hours,
            tokens=self.tokens + other.tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a campaign may spend; None: no limit."""

    usd: float | None = None
    slot_hours: float | None = None
    gpu_hours: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name in UNITS:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"limits.{name} is {value}; give a non-negative number, or null for no limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A cost that is held and not yet known."""

    number: int  # in the order of this ledger
    account: str  # "stage/arm", or "model/NAME"
    worst: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a cost was not reserved."""

    account: str
    reason: str
    final: bool = True  # False: it may fit once what is held has been settled for less


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """One account's sum."""

    account: str
    settled: Cost = Cost()
    held: Cost = Cost()  # reserved and unanswered
    num_settled: int = 0
    num_held: int = 0


def cost_of(charge: Charge) -> Cost:
    """What an attempt to train took."""
    return Cost(slot_hours=charge.slot_s / 3600, gpu_hours=charge.gpu_s / 3600)


def account_of(charge: Charge) -> str:
    """The account that an attempt to train is booked to."""
    return f"{charge.stage}/{charge.arm}"


def _figure(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.4g}"


class _Held:
    """The sum of what is reserved, kept as reservations come and go: exact, however many there were."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(UNITS, 0)

    def add(self, cost: Cost, sign: int = 1) -> None:
        for name in UNITS:
            self._sums[name] += sign * int(getattr(cost, name) * _EXACT)

    @property
    def cost(self) -> Cost:
        usd, slot_hours, gpu_hours, _ = (total / _EXACT for total in self._sums.values())
        return Cost(usd=usd, slot_hours=slot_hours, gpu_hours=gpu_hours, tokens=self._sums["tokens"] // _EXACT)


class BudgetLedger:
    """A ledger in memory; `restore` brings back what an earlier process had settled and left unanswered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._settled: dict[str, Spend] = {}
        self._held: dict[int, Reservation] = {}
        self._held_in_all = _Held()
        self._next_number = 0

    def reserve(self, account: str, worst: Cost) -> Reservation | Refusal:
        """Hold the worst cost of something about to be done, or say which limit it would break."""
        total, held_now = self.total(), self.held()
        for name in UNITS:
            limit = getattr(self.limits, name)
            used, held, asked = getattr(total, name), getattr(held_now, name), getattr(worst, name)
            if limit is not None and asked > 0 and used + asked > limit:
                return Refusal(
                    account=account,
                    reason=f"{name}: {_figure(used)} spent or held and {_figure(asked)} asked for exceed the limit "
                    f"{_figure(limit)}",
                    final=used - held + asked > limit,
                )
        return self._hold(account, worst)

    def settle(self, reservation: Reservation, actual: Cost) -> None:
        """Replace a reservation by its actual cost, which may exceed it. Raises ValueError if it is not held."""
        if self._held.get(reservation.number) != reservation:
            raise ValueError(f"reservation {reservation.number} ({reservation.account}) is not held; settle it once")
        self._let_go(reservation)
        self._add(Spend(account=reservation.account, settled=actual, num_settled=1))

    def release(self, reservation: Reservation) -> None:
        """Give up a reservation: what it was held for is booked otherwise. ValueError if it is not held."""
        if self._held.get(reservation.number) != reservation:
            raise ValueError(f"reservation {reservation.number} ({reservation.account}) is not held; release it once")
        self._let_go(reservation)

    def keep(self, reservation: Reservation) -> None:
        """Nobody will answer: the worst cost counts for good, marked as held. ValueError if it is not held."""
        if self._held.get(reservation.number) != reservation:
            raise ValueError(f"reservation {reservation.number} ({reservation.account}) is not held; keep it once")
        self._let_go(reservation)
        self._add(Spend(account=reservation.account, held=reservation.worst, num_held=1))

    def total(self) -> Cost:
        """Everything settled and held: what counts against the limits."""
        return sum((spend.settled + spend.held for spend in self._settled.values()), self.held())

    def held(self) -> Cost:
        """Everything that is reserved and may still be settled for less; what an earlier process held will not be."""
        return self._held_in_all.cost

    def unanswered(self) -> tuple[Reservation, ...]:
        """Reservations that still wait for an answer, oldest first."""
        return tuple(self._held[number] for number in sorted(self._held))

    def spent(self) -> tuple[Spend, ...]:
        """One row per account, by name."""
        rows = dict(self._settled)
        for reservation in self._held.values():
            row = rows.get(reservation.account, Spend(account=reservation.account))
            rows[reservation.account] = Spend(
                account=row.account,
                settled=row.settled,
                held=row.held + reservation.worst,
                num_settled=row.num_settled,
                num_held=row.num_held + 1,
            )
        return tuple(rows[account] for account in sorted(rows))

    def restore(self, spends: Iterable[Spend]) -> None:
        """Book what an earlier process had spent; limits do not apply, since it is spent. What it held stays held."""
        for spend in spends:
            self._add(spend)

    def _hold(self, account: str, worst: Cost) -> Reservation:
        reservation = Reservation(number=self._next_number, account=account, worst=worst)
        self._next_number += 1
        self._held[reservation.number] = reservation
        self._held_in_all.add(worst)
        return reservation

    def _let_go(self, reservation: Reservation) -> None:
        del self._held[reservation.number]
        self._held_in_all.add(reservation.worst, -1)

    def _add(self, spend: Spend) -> None:
        row = self._settled.get(spend.account, Spend(account=spend.account))
        self._settled[spend.account] = Spend(
            account=row.account,
            settled=row.settled + spend.settled,
            held=row.held + spend.held,
            num_settled=row.num_settled + spend.num_settled,
            num_held=row.num_held + spend.num_held,
        )
