"""Whose turn it is among pools: pure bookkeeping."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.pools import Pool, check_pools
from orchestrator.sharing import Shares


def simulate(shares: Shares, lengths_s: dict[str, float], until_s: float) -> dict[str, float]:
    """Slot seconds by pool when every pool always has something waiting."""
    now, running, held = 0.0, [], dict.fromkeys(lengths_s, 0.0)
    while now < until_s:
        while (name := shares.next(list(lengths_s))) is not None:
            shares.take(name, lengths_s[name])
            running.append((now + lengths_s[name], name))
        now, name = min(running)
        running.remove((now, name))
        shares.give_back(name, lengths_s[name], lengths_s[name])
        held[name] += lengths_s[name]
    return held


@settings(max_examples=30, deadline=None, derandomize=True)
@given(explore_s=st.floats(1, 50), verify_s=st.floats(1, 50), weight=st.floats(0.2, 5))
def test_pools_that_always_ask_share_slot_time_by_weight(explore_s: float, verify_s: float, weight: float) -> None:
    shares = Shares({"explore": Pool(), "verify": Pool(weight=weight)})
    shares.has({"CPU": 2})
    until_s = 100 * max(explore_s, verify_s)
    held = simulate(shares, {"explore": explore_s, "verify": verify_s}, until_s)
    assert held["verify"] / held["explore"] == pytest.approx(weight, rel=0.15)


def test_who_was_idle_starts_at_the_others_time() -> None:
    shares = Shares({"explore": Pool(), "verify": Pool()})
    shares.has({"CPU": 1})
    for _ in range(100):
        assert shares.next(["explore"]) == "explore"
        shares.take("explore", 10)
        shares.give_back("explore", 10, 10)
    turns = []
    for _ in range(10):
        name = shares.next(["explore", "verify"])
        assert name is not None
        turns.append(name)
        shares.take(name, 10)
        shares.give_back(name, 10, 10)
    assert 4 <= turns.count("verify") <= 6  # not all ten, though it has had nothing before


def test_a_large_trial_at_the_head_is_not_starved_by_small_ones() -> None:
    shares = Shares({"small": Pool(gpus=1), "node": Pool(cpus=8, gpus=8)})
    shares.has({"CPU": 16, "GPU": 8})
    for _ in range(4):
        shares.take("small", 60)
    assert shares.next(["small", "node"]) is None  # the node's clock is behind; the free cards are kept for it
    for _ in range(4):
        shares.give_back("small", 60, 60)
    assert shares.next(["small", "node"]) == "node"


def test_what_waits_for_cards_does_not_hold_up_what_needs_none() -> None:
    shares = Shares({"cpu": Pool(), "node": Pool(cpus=1, gpus=8)})
    shares.has({"CPU": 8, "GPU": 8})
    shares.take("node", 60)
    shares.take("cpu", 600)  # behind the other's clock no more
    assert shares.next(["cpu", "node"]) == "cpu"


def test_what_no_node_is_left_for_holds_nobody_else_up() -> None:
    shares = Shares({"small": Pool(gpus=1), "node": Pool(gpus=8)})
    shares.has({"CPU": 16, "GPU": 4})  # the node of eight is gone
    for _ in range(4):
        assert shares.next(["small", "node"]) == "small"
        shares.take("small", 60)
    assert shares.next(["small", "node"]) is None


def test_limits_of_a_pool_and_of_all() -> None:
    shares = Shares({"explore": Pool(limit=2), "verify": Pool()}, most=3)
    shares.has({"CPU": 100})
    shares.take("explore", 1)
    shares.take("explore", 1)
    assert shares.next(["explore"]) is None
    assert shares.next(["explore", "verify"]) == "verify"
    shares.take("verify", 1)
    assert shares.next(["verify"]) is None


def test_a_pool_with_a_limit_is_handed_out_beyond_what_is_there_for_an_autoscaler_to_see() -> None:
    shares = Shares({"on_demand": Pool(gpus=1, limit=4), "here": Pool(gpus=1)})
    shares.has({"CPU": 1})
    assert shares.next(["here"]) is None
    assert shares.next(["on_demand"]) == "on_demand"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpus": 1.5}, "only whole ones"),
        ({"gpus": -1}, "use 0 or more"),
        ({"cpus": float("nan")}, "use 0 or more"),
        ({"gpus": 2, "processes": 3}, "a card of its own"),
        ({"limit": 0}, "use 1 or more"),
        ({"weight": 0}, "above zero"),
        ({"memory_gb": 0}, "above zero"),
        ({"resources": {"tpu": 0}}, "resources.tpu is 0"),
    ],
)
def test_odd_pools_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pool(**values)  # type: ignore[arg-type]


def test_a_pool_that_takes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pools\.explore takes nothing"):
        check_pools({"explore": Pool(cpus=0), "gate": Pool(cpus=0)})
    with pytest.raises(ValueError, match="pools is empty"):
        check_pools({"gate": Pool(cpus=0)})


def test_a_bundle_is_what_ray_is_asked_for() -> None:
    pool = Pool(cpus=4, gpus=0.5, memory_gb=2, accelerator_type="H100", resources={"fast_disk": 1})
    assert pool.bundle == {"CPU": 4, "GPU": 0.5, "memory": 2e9, "accelerator_type:H100": 0.001, "fast_disk": 1}
    assert (pool.num_processes, pool.device) == (1, "cuda")
    assert (Pool(gpus=8).num_processes, Pool(processes=2).num_processes, Pool().device) == (8, 2, "cpu")
    assert [Pool(gpus=gpus).card_share for gpus in (0, 0.25, 1, 8)] == [1, 0.25, 1, 1]
    assert pool.fitting({"CPU": 16, "GPU": 4, "memory": 1e12, "accelerator_type:H100": 1, "fast_disk": 3}) == 3
