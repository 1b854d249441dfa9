"""Which of many tested hypotheses may be called found: e-BH on e-values; Holm and Benjamini-Hochberg on p-values."""

from __future__ import annotations

from collections.abc import Sequence


def e_benjamini_hochberg(
    e_values: Sequence[float], rate: float, *, num_tested: int | None = None, least: float = 1.0
) -> frozenset[int]:
    """The largest set whose members all have e >= num_tested / (rate * size): the expected share of false ones in it is
    at most `rate`, however the e-values depend on each other (Wang and Ramdas, JRSS B 84, 2022, theorem 2).

    Args:
        e_values: of the hypotheses, as far as they were tested.
        rate: the false discovery rate that is promised.
        num_tested: how many are tested in all; None: as many as there are e-values.
        least: no e-value below it counts, which keeps the promise.

    Returns:
        Their places.

    Raises:
        ValueError: rate outside (0, 1), or fewer tested than there are e-values.
    """
    num = _num(len(e_values), rate, num_tested)
    order = sorted(range(len(e_values)), key=lambda place: -e_values[place])
    found = 0
    for size, place in enumerate(order, start=1):
        if e_values[place] >= max(least, num / (rate * size)):
            found = size
    return frozenset(order[:found])


def benjamini_hochberg(p_values: Sequence[float], rate: float, *, num_tested: int | None = None) -> frozenset[int]:
    """The places that Benjamini and Hochberg (JRSS B 57, 1995) find at this false discovery rate.

    Valid where the p-values are independent or positively dependent.

    Raises:
        ValueError: as `e_benjamini_hochberg`.
    """
    num = _num(len(p_values), rate, num_tested)
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found = 0
    for size, place in enumerate(order, start=1):
        if p_values[place] <= rate * size / num:
            found = size
    return frozenset(order[:found])


def holm(p_values: Sequence[float], rate: float, *, num_tested: int | None = None) -> frozenset[int]:
    """The places that Holm (1979) finds: the chance that any of them is false is at most `rate`.

    Raises:
        ValueError: as `e_benjamini_hochberg`.
    """
    num = _num(len(p_values), rate, num_tested)
    found = []
    for step, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] > rate / (num - step):
            break
        found.append(place)
    return frozenset(found)


def _num(there: int, rate: float, num_tested: int | None) -> int:
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; give one between 0 and 1, both excluded")
    num = there if num_tested is None else num_tested
    if num < there:
        raise ValueError(f"num_tested is {num} and {there} were tested; count all of them")
    return num
