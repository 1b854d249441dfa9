"""The weights of finished trials, beside the checkpoints of those under way: what is exported without training again.

Nothing that storage does ends a trial: what could not be kept is said, and export trains anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.checkpoints import Checkpoint, CheckpointError, Checkpoints, KeepSpec
from models.evaluator import TokenScores
from models.sandbox.wire import Array
from models.scale import TEXT


def keep(
    spec: KeepSpec, trial_id: str, job: str, weights: Mapping[str, Array], canary: TokenScores, ffn_width: int | None
) -> str:
    """Store the text's weights; what went wrong, for people, or "".

    `job` is the digest of what was trained.
    """
    num_bytes = sum(array.nbytes for array in weights.values())
    if num_bytes > spec.most_bytes:
        return f"its weights, {num_bytes} bytes, were not kept: raise checkpoints.keep_gb"
    kept = Checkpoint(
        job=job,
        task=TEXT,
        step=0,
        elapsed_s=0.0,
        spent_s=0.0,
        trained_s=0.0,
        ffn_width=ffn_width,
        canary=canary,
        points=(),
        weights={TEXT: weights},
        state="",
        arrays={},
    )
    try:
        Checkpoints.at(spec.uri).save(_name(trial_id), kept)
    except CheckpointError as error:
        return str(error)
    return ""


def kept_weights(uri: str, trial_id: str, job: str) -> Mapping[str, Array] | None:
    """What was kept of a trial; None where nothing was, or of another training under its id.

    Raises:
        CheckpointError: it is damaged, or cannot be reached.
    """
    found = Checkpoints.at(uri).load(_name(trial_id))
    return found.weights[TEXT] if found is not None and found.job == job else None


def _name(trial_id: str) -> str:
    return f"{trial_id}.weights"
