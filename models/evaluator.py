"""The sealed evaluation: labels, head and loss, in a process that never runs candidate code. numpy only, no torch.

It takes arrays that a jailed child computed from saved weights, and trusts none of them: shapes are checked, and what
is not finite is an error, never a number. It does not guarantee that the child computed them from the weights alone:
the prefix audit bounds what knowledge of later tokens can have gained at the positions drawn.

Shapes: N windows, T time, D model width, V vocabulary, A audited positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
WINDOWS_PER_POSITION = 4
AUDIT_LIMIT_NATS = 0.01  # fp32 round-off between lengths stays near 1e-4; a leak worth having is above 0.01
_CHUNK_ELEMENTS = (
    250_000  # logits held at once (float64): more than this and a fresh child spends its time on page faults
)

Floats = NDArray[np.floating[Any]]


class NonFiniteScore(ValueError):
    """Hidden states, head or loss hold NaN or infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """Loss and accuracy over counted targets; errors treat the tokens of one window as dependent."""

    loss: float  # nats per counted token
    stderr: float | None  # None with a single window
    accuracy: float  # share of counted targets that are the likeliest token
    accuracy_stderr: float | None
    num_items: int  # counted targets


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPositions:
    """Which prefixes the child is asked for: tokens [0, positions[i]] of window windows[i]."""

    windows: NDArray[np.int64]  # [A]
    positions: NDArray[np.int64]  # [A]


def score(hidden_NTD: Floats, head_VD: Floats, targets_NT: NDArray[np.int64]) -> TokenScores:
    """Cross-entropy and accuracy in float64; targets of -100 do not count.

    Raises:
        NonFiniteScore: anything is NaN or infinite.
        ValueError: shapes disagree, a target is no token, or no target counts.
    """
    losses_N, hits_N, counted_N = _sums(hidden_NTD, head_VD, targets_NT)
    num_items = int(counted_N.sum())
    if num_items == 0:
        raise ValueError("every target is -100, so there is nothing to score: check the evaluation set")
    loss, accuracy = float(losses_N.sum() / num_items), float(hits_N.sum() / num_items)
    if not math.isfinite(loss):
        raise NonFiniteScore(f"the sealed loss is {loss}")
    return TokenScores(
        loss=loss,
        stderr=_clustered_error(losses_N, counted_N, loss),
        accuracy=accuracy,
        accuracy_stderr=_clustered_error(hits_N, counted_N, accuracy),
        num_items=num_items,
    )


def score_pairs(hidden_NTD: Floats, head_VD: Floats, targets_NT: NDArray[np.int64]) -> TokenScores:
    """Minimal pairs: window 2 i is the acceptable text of pair i, window 2 i + 1 the other one (models.minimal_pairs).

    The accuracy is the share of pairs whose acceptable text has the larger summed log-likelihood, a tie counting half,
    and its error that of a mean over pairs; the loss is the acceptable texts' per token.

    Raises:
        NonFiniteScore, ValueError: as `score`; an odd number of windows.
    """
    if len(hidden_NTD) % 2:
        raise ValueError(f"{len(hidden_NTD)} windows are no pairs: give the acceptable and the other text of each")
    losses_N, _, counted_N = _sums(hidden_NTD, head_VD, targets_NT)
    good_P, bad_P = losses_N[0::2], losses_N[1::2]
    if not np.isfinite(losses_N).all():
        raise NonFiniteScore("a sealed loss of a minimal pair is not finite")
    hits_P = np.where(good_P == bad_P, 0.5, good_P < bad_P)
    loss, accuracy, one_each_P = float(good_P.sum() / counted_N[0::2].sum()), float(hits_P.mean()), np.ones(len(hits_P))
    return TokenScores(
        loss=loss,
        stderr=_clustered_error(good_P, counted_N[0::2], loss),
        accuracy=accuracy,
        accuracy_stderr=_clustered_error(hits_P, one_each_P, accuracy),
        num_items=len(hits_P),
    )


def audit_positions(num_windows: int, length: int, num: int, rng: np.random.Generator) -> AuditPositions:
    """Four random windows at each of `num` random positions, never the last one: there the prefix is the whole.

    Positions cost a pass each, windows at the same position nearly nothing.
    """
    if num_windows < 1 or length < 2 or num < 1:
        raise ValueError(f"cannot audit {num} positions of {num_windows} windows of {length}: need 1, 1 and 2 at least")
    positions = np.repeat(rng.integers(0, length - 1, size=num), WINDOWS_PER_POSITION)
    return AuditPositions(windows=rng.integers(0, num_windows, size=len(positions)), positions=positions)


def audit(full_AD: Floats, prefix_AD: Floats, head_VD: Floats) -> float:
    """How far full-sequence and prefix-only hidden states disagree: the largest change of a log-probability, in nats.

    Judged through the head, since a leak too small to see in the hidden states counts once a large head lifts it.
    Compare with AUDIT_LIMIT_NATS.
    """
    if full_AD.ndim != 2 or full_AD.shape != prefix_AD.shape or full_AD.shape[1] != head_VD.shape[-1]:
        raise ValueError(
            f"audit got shapes {full_AD.shape}, {prefix_AD.shape}, head {head_VD.shape}: [A, D] twice, [V, D]"
        )
    head_DV = _finite("head", head_VD).astype(np.float64).T
    full_AV = _finite("hidden states", full_AD).astype(np.float64) @ head_DV
    prefix_AV = _finite("prefix hidden states", prefix_AD).astype(np.float64) @ head_DV
    full_AV -= _log_sum_exp(full_AV)[:, None]
    prefix_AV -= _log_sum_exp(prefix_AV)[:, None]
    return float(np.abs(full_AV - prefix_AV).max())


def _sums(
    hidden_NTD: Floats, head_VD: Floats, targets_NT: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each window: losses in nats, likeliest tokens that are right, and targets, all over counted targets."""
    num_windows, length, vocab_size = _check_shapes(hidden_NTD, head_VD, targets_NT)
    head_DV = _finite("head", head_VD).astype(np.float64).T
    losses_N, hits_N, counted_N = np.zeros(num_windows), np.zeros(num_windows), np.zeros(num_windows)
    chunk = max(1, _CHUNK_ELEMENTS // (length * vocab_size))
    for start in range(0, num_windows, chunk):
        part = slice(start, start + chunk)
        logits = _finite("hidden states", hidden_NTD[part]).astype(np.float64) @ head_DV
        counted = targets_NT[part] != IGNORED
        label = np.where(counted, targets_NT[part], 0)[..., None]
        chosen = np.take_along_axis(logits, label, axis=-1)[..., 0]
        hits = logits.argmax(axis=-1) == label[..., 0]
        losses_N[part] = ((_log_sum_exp(logits) - chosen) * counted).sum(axis=1)
        hits_N[part] = (hits & counted).sum(axis=1)
        counted_N[part] = counted.sum(axis=1)
    return losses_N, hits_N, counted_N


def _check_shapes(hidden: Floats, head: Floats, targets: NDArray[np.int64]) -> tuple[int, int, int]:
    if hidden.ndim != 3 or targets.shape != hidden.shape[:2] or head.ndim != 2 or head.shape[1] != hidden.shape[2]:
        raise ValueError(
            f"score got hidden {hidden.shape}, head {head.shape}, targets {targets.shape}: [N, T, D], [V, D], [N, T]"
        )
    vocab_size = head.shape[0]
    wrong = (targets != IGNORED) & ((targets < 0) | (targets >= vocab_size))
    if wrong.any():
        raise ValueError(f"target {targets[wrong][0]} is no token: the head knows 0..{vocab_size - 1}")
    return hidden.shape[0], hidden.shape[1], vocab_size


def _finite(name: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise NonFiniteScore(f"{name} hold NaN or infinity")
    return values


def _log_sum_exp(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    peak = logits.max(axis=-1)
    return np.asarray(peak + np.log(np.exp(logits - peak[..., None]).sum(axis=-1)))


def _clustered_error(sums_N: NDArray[np.float64], counts_N: NDArray[np.float64], mean: float) -> float | None:
    """Standard error of the ratio sum(sums) / sum(counts), windows independent (linearised)."""
    num_windows = len(sums_N)
    if num_windows < 2:
        return None
    residuals_N = sums_N - mean * counts_N
    correction = num_windows / (num_windows - 1)
    return float(math.sqrt(correction * float((residuals_N**2).sum())) / counts_N.sum())
