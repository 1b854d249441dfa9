"""What commands that ask a model may spend."""

from __future__ import annotations

import argparse
import math

BUDGET_USD = 0.50


def add_money(parser: argparse.ArgumentParser) -> None:
    """`--budget-usd` and `--price`."""
    parser.add_argument(
        "--budget-usd", type=_dollars, default=BUDGET_USD, help="the most that it may cost (%(default)s)"
    )
    parser.add_argument(
        "--price", type=_dollars, nargs=2, metavar=("INPUT", "OUTPUT"), help="US dollars per million tokens"
    )


def stated_price(options: argparse.Namespace) -> tuple[float, float] | None:
    """Of input and output; None where the list's is wanted."""
    return None if options.price is None else (options.price[0], options.price[1])


def _dollars(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no amount: use US dollars, 0 or more")
    return value
