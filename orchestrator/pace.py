"""The reference baseline's pace at each stage, by which trials under way are told to be anomalous."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from cognition.reader import Reader
from cognition.records import Metric, Pace
from models.anomalies import pace_of
from models.scale import TEXT


class Paces:
    """Text curves of the reference baseline by stage; known as soon as its first trial has ended."""

    def __init__(self) -> None:
        self._curves: dict[str, list[Sequence[Metric]]] = defaultdict(list)

    def add(self, stage: str, curve: Sequence[Metric]) -> None:
        self._curves[stage].append([point for point in curve if point.task == TEXT])

    def of(self, stage: str) -> Pace | None:
        return pace_of(self._curves[stage])


def paces_in(reader: Reader) -> Paces:
    """What the store knows of the reference's curves, for a campaign that goes on."""
    found = reader.query(
        "SELECT stage, trial_id, step, curves.loss, grad_norm, learning_rate, curves.tokens, elapsed_s "
        "FROM curves JOIN trials USING (trial_id) JOIN candidates USING (candidate_id) "
        f"WHERE candidates.number = 0 AND trials.status = 'finished' AND task = '{TEXT}' ORDER BY trial_id, step"
    )
    paces = Paces()
    for (stage, _), rows in groupby(found.rows, key=itemgetter(0, 1)):
        paces.add(stage, [_point(row[1:]) for row in rows])
    return paces


def _point(row: Sequence[Any]) -> Metric:
    trial_id, step, loss, grad_norm, learning_rate, tokens, elapsed_s = row
    return Metric(
        trial_id=trial_id,
        task=TEXT,
        step=step,
        loss=loss,
        grad_norm=grad_norm,
        learning_rate=learning_rate,
        tokens=tokens,
        elapsed_s=elapsed_s,
    )
