from __future__ import annotations

import numpy as np
import pytest
import torch

from models.evaluator import AUDIT_LIMIT_NATS, NonFiniteScore, audit, audit_positions, score, score_pairs

RNG = np.random.default_rng(0)
HIDDEN = RNG.standard_normal((6, 10, 8)).astype(np.float32)
HEAD = RNG.standard_normal((20, 8)).astype(np.float32)
TARGETS = RNG.integers(0, 20, (6, 10))


def test_score_agrees_with_torch():
    targets = TARGETS.copy()
    targets[:, ::3] = -100
    scores = score(HIDDEN, HEAD, targets)
    logits = torch.from_numpy(HIDDEN).double() @ torch.from_numpy(HEAD).double().T
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    assert scores.loss == pytest.approx(expected.item(), rel=1e-12)
    counted = targets != -100
    assert scores.num_items == counted.sum()
    assert scores.accuracy == pytest.approx((logits.argmax(-1).numpy() == targets)[counted].mean())


def test_chunks_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch):
    whole = score(HIDDEN, HEAD, TARGETS)
    monkeypatch.setattr("models.evaluator._CHUNK_ELEMENTS", 1)
    assert score(HIDDEN, HEAD, TARGETS) == whole


def test_standard_error_covers_dependent_tokens():
    losses = []
    errors = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared = rng.standard_normal((12, 1, 8)) + 0.1 * rng.standard_normal((12, 10, 8))
        result = score(shared, HEAD, np.zeros((12, 10), dtype=np.int64))
        losses.append(result.loss)
        errors.append(result.stderr)
    assert np.mean(errors) == pytest.approx(np.std(losses), rel=0.2)


def test_a_single_window_has_no_standard_error():
    assert score(HIDDEN[:1], HEAD, TARGETS[:1]).stderr is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["hidden", "head"])
def test_non_finite_values_are_an_error_not_a_number(bad: float, where: str):
    hidden, head = HIDDEN.copy(), HEAD.copy()
    (hidden if where == "hidden" else head).flat[5] = bad
    with pytest.raises(NonFiniteScore, match=where):
        score(hidden, head, TARGETS)


def test_overflow_is_an_error_not_a_number():
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteScore),
    ):
        score(HIDDEN.astype(np.float64) * 1e200, HEAD.astype(np.float64) * 1e200, TARGETS)


@pytest.mark.parametrize(
    ("hidden", "head", "targets", "message"),
    [
        (HIDDEN[0], HEAD, TARGETS, r"\(10, 8\)"),
        (HIDDEN, HEAD[:, :4], TARGETS, r"\(20, 4\)"),
        (HIDDEN, HEAD, TARGETS[:, :5], r"\(6, 5\)"),
        (HIDDEN, HEAD, np.where(TARGETS[0, 0] == TARGETS, 99, TARGETS), "target 99"),
        (HIDDEN, HEAD, np.full_like(TARGETS, -100), "every target"),
    ],
)
def test_malformed_evaluations_are_refused(hidden, head, targets, message: str):
    with pytest.raises(ValueError, match=message):
        score(hidden, head, targets)


def test_audit_positions_follow_the_generator_and_never_end_a_window():
    one, two = (audit_positions(5, 16, 500, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.positions, two.positions)
    assert np.array_equal(one.windows, two.windows)
    assert set(one.windows) == set(range(5))
    assert set(one.positions) == set(range(15))


@pytest.mark.parametrize("values", [(0, 8, 1), (1, 1, 1), (1, 8, 0)])
def test_impossible_audits_are_refused(values: tuple[int, int, int]):
    with pytest.raises(ValueError, match="cannot audit"):
        audit_positions(*values, np.random.default_rng(0))


def test_audit_passes_round_off_and_catches_knowledge_of_the_answer():
    full = HIDDEN[:, 3]
    noise = 1e-5 * RNG.standard_normal(full.shape).astype(np.float32)
    assert audit(full, full, HEAD) == 0
    assert audit(full, full + noise, HEAD) < AUDIT_LIMIT_NATS
    knowing = full + 0.02 * HEAD[TARGETS[:, 3]]
    assert audit(knowing, full, HEAD) > AUDIT_LIMIT_NATS


def test_a_small_leak_behind_a_large_head_is_caught():
    leak = np.zeros_like(HIDDEN[:, 3])
    leak[:, 0] = 1e-6
    head = HEAD.copy()
    head[:, 0] *= 1e6
    assert audit(HIDDEN[:, 3] + leak, HIDDEN[:, 3], head) > AUDIT_LIMIT_NATS


def test_non_finite_audit_answers_are_an_error():
    broken = HIDDEN[:, 3].copy()
    broken[0, 0] = np.nan
    with pytest.raises(NonFiniteScore):
        audit(HIDDEN[:, 3], broken, HEAD)


def _logits_for(rows: list[list[float]]) -> np.ndarray:
    """Hidden states whose head is the identity: logits as they stand, [N, 1, V]."""
    return np.array(rows, np.float32)[:, None, :]


def test_a_pair_is_won_by_the_text_of_the_larger_likelihood_and_a_tie_counts_half():
    likelier, flat = [3.0, 0.0], [0.0, 0.0]
    hidden = _logits_for([likelier, flat, flat, likelier, flat, flat, likelier, flat])
    scores = score_pairs(hidden, np.eye(2, dtype=np.float32), np.zeros((8, 1), dtype=np.int64))
    assert (scores.accuracy, scores.num_items) == ((1 + 0 + 0.5 + 1) / 4, 4)
    assert scores.accuracy_stderr == pytest.approx(np.std([1, 0, 0.5, 1], ddof=1) / 2)


def test_likelihoods_are_summed_over_counted_targets_alone():
    hidden = np.repeat(_logits_for([[0.0, 0.0], [0.0, 1.0]]), 3, axis=1)
    targets = np.array([[0, 0, -100], [1, 1, 1]])
    won = score_pairs(hidden, np.eye(2, dtype=np.float32), targets)
    assert won.accuracy == 0.0  # 3 x 0.31 nats against 2 x 0.69
    targets[1] = [0, -100, -100]
    assert score_pairs(hidden, np.eye(2, dtype=np.float32), targets).accuracy == 0.0  # 1.31 against 1.39
    targets[0] = [0, -100, -100]
    assert score_pairs(hidden, np.eye(2, dtype=np.float32), targets).accuracy == 1.0  # 1.31 against 0.69


def test_an_odd_number_of_windows_and_what_is_not_finite_are_no_pairs():
    with pytest.raises(ValueError, match="3 windows are no pairs"):
        score_pairs(HIDDEN[:3], HEAD, TARGETS[:3])
    broken = HIDDEN.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteScore):
        score_pairs(broken, HEAD, TARGETS)
