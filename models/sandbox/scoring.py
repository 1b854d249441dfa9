"""The task that turns hidden states, head and targets into scores: trusted code alone, beside no candidate."""

from __future__ import annotations

from typing import Any

import numpy as np

from models import evaluator
from models.backbone import MATCH_TOLERANCE, non_embedding_parameters, reference_parameters
from models.sandbox.child import Channel, TaskError
from models.sandbox.wire import Json, Message
from models.scale import size_of


def score(channel: Channel) -> None:
    """start {size, slot}; then, as often as the parent likes,

    count {shapes} -> counted {num_parameters, target_parameters, tolerance};
    score | score_pairs + hidden_NTD, head_VD, targets_NT -> scored {loss, accuracy, their errors, num_items}.
    """
    start = channel.receive()
    target_parameters = reference_parameters(size_of(start.table("size")), start.text("slot"))
    while True:
        request = channel.receive()
        if request.kind == "count":
            shapes = {name: _Shaped(shape) for name, shape in request.table("shapes").items()}
            counted: dict[str, Json] = {
                "num_parameters": non_embedding_parameters(shapes),
                "target_parameters": target_parameters,
                "tolerance": MATCH_TOLERANCE,
            }
            channel.send("counted", counted)
        else:
            channel.send("scored", _scored(request))


def _scored(request: Message) -> dict[str, Json]:
    rule = evaluator.score_pairs if request.kind == "score_pairs" else evaluator.score
    try:
        scores = rule(
            request.array("hidden_NTD"), request.array("head_VD"), request.array("targets_NT").astype(np.int64)
        )
    except evaluator.NonFiniteScore as error:
        raise TaskError("nonfinite", str(error)) from error
    return {
        "loss": scores.loss,
        "stderr": scores.stderr,
        "accuracy": scores.accuracy,
        "accuracy_stderr": scores.accuracy_stderr,
        "num_items": scores.num_items,
    }


class _Shaped:
    """A shape without its array, for counting."""

    def __init__(self, shape: Json) -> None:
        self.shape: Any = shape
