from __future__ import annotations

import dataclasses
import random

import pytest

from orchestrator.early_stopping.curves import Peer
from orchestrator.early_stopping.extrapolation import Forecast, predict
from orchestrator.early_stopping.policies import decide
from orchestrator.early_stopping.settings import StoppingSettings
from tests.orchestrator.early_stopping.worlds import POINTS, STEPS, curve_of, loss_at, peer_of


def test_bumps_that_all_curves_share_do_not_blur_the_forecast() -> None:
    peers = [peer_of(2.0 + place / 10) for place in range(8)]
    forecast = predict(curve_of(2.33, until=50), STEPS, peers, 8)
    assert forecast is not None
    assert forecast.mean == pytest.approx(2.33, abs=1e-6)
    assert forecast.std < 1e-3


def test_stated_chances_come_true() -> None:
    """Of forecasts that give a chance of 10 to 30% about a fifth have to come true, from as few as ten peers."""
    rng = random.Random(1)
    outcomes = []
    for _ in range(1500):
        levels = [rng.gauss(2.2, 0.15) for _ in range(11)]
        peers = [peer_of(level, rng) for level in levels[1:]]
        curve = [(step, loss_at(levels[0], step, rng.gauss(0, 0.02))) for step in POINTS if step <= 50]
        forecast = predict(curve, STEPS, peers, 8)
        assert forecast is not None
        bar = forecast.mean + forecast.std * rng.uniform(-2, 1)
        chance = forecast.chance_below(bar)
        if 0.1 < chance < 0.3:
            outcomes.append((chance, levels[0] <= bar))
    assert len(outcomes) > 300
    expected = sum(chance for chance, _ in outcomes) / len(outcomes)
    assert sum(came for _, came in outcomes) / len(outcomes) == pytest.approx(expected, abs=0.06)


def test_a_curve_outside_of_what_peers_cover_is_less_certain() -> None:
    rng = random.Random(2)
    peers = [peer_of(2.0 + place / 20, rng) for place in range(12)]
    inside, outside = (predict(curve_of(level, until=50), STEPS, peers, 8) for level in (2.3, 4.0))
    assert inside is not None
    assert outside is not None
    assert outside.std > 2 * inside.std


def test_peers_without_an_end_or_without_the_points_teach_nothing() -> None:
    peers = [peer_of(2.0 + place / 10) for place in range(8)]
    assert predict(curve_of(2.2, until=50), STEPS, peers, 8) is not None
    unfinished = [*peers[:7], Peer(losses=peers[7].losses)]
    gapped = [*peers[:7], Peer(losses={step: loss for step, loss in curve_of(2.7) if step != 40}, final=2.7)]
    for others in (unfinished, gapped):
        assert predict(curve_of(2.2, until=50), STEPS, others, 8) is None


def test_equal_peers_give_a_narrow_forecast_and_no_error() -> None:
    forecast = predict(curve_of(2.0, until=50), STEPS, [peer_of(2.0)] * 8, 8)
    assert forecast is not None
    assert forecast.mean == pytest.approx(2.0)
    assert forecast.chance_below(1.9) < 0.01


def test_a_bar_at_the_forecast_is_even_odds() -> None:
    assert Forecast(mean=2.0, std=0.1, dof=5).chance_below(2.0) == pytest.approx(0.5)


def test_where_early_losses_tell_nothing_of_the_end_nearly_nothing_is_stopped() -> None:
    """The bar of the best quarter is reached by a quarter of all: no chance may fall far below that."""
    rng = random.Random(3)
    settings, stopped = StoppingSettings(policy="extrapolation"), 0
    for _ in range(200):
        peers = [dataclasses.replace(peer_of(rng.gauss(2.2, 0.1)), final=rng.gauss(2.2, 0.1)) for _ in range(30)]
        stopped += decide(settings, curve_of(rng.gauss(2.2, 0.1), until=50), STEPS, peers).stop
    assert stopped <= 6
