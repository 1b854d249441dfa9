from __future__ import annotations

from types import SimpleNamespace

from ray.tune.utils.object_cache import _ObjectCache

from orchestrator.early_stopping.scheduler import EarlyStopping
from orchestrator.idle_hosts import IdleHosts

SMALL, LARGE = "a core", "a node"


def idle(num: int) -> IdleHosts:
    hosts = IdleHosts()
    for number in range(num):
        assert hosts.cache_object(SMALL, number)
    return hosts


def test_all_are_kept_while_nobody_or_only_the_same_waits() -> None:
    """Tune's own cache keeps one."""
    hosts = idle(3)
    assert list(hosts.flush_cached_objects()) == []
    hosts.increase_max(SMALL)
    assert list(hosts.flush_cached_objects()) == []
    assert [hosts.pop_cached_object(SMALL) for _ in range(4)] == [0, 1, 2, None]
    assert hosts.num_cached_objects == 0


def test_their_room_is_given_to_a_trial_of_another_shape() -> None:
    hosts = idle(3)
    hosts.increase_max(LARGE)
    assert not hosts.cache_object(SMALL, 3), "who ends meanwhile is not kept either"
    assert list(hosts.flush_cached_objects()) == [0, 1, 2]
    hosts.decrease_max(LARGE)
    assert hosts.cache_object(SMALL, 4)
    assert hosts.num_cached_objects == 1


def test_at_the_end_none_is_kept() -> None:
    hosts = idle(2)
    assert list(hosts.flush_cached_objects(force_all=True)) == [0, 1]
    assert hosts.num_cached_objects == 0


def test_the_scheduler_puts_it_in_the_place_of_tunes_own_once() -> None:
    tune_controller = SimpleNamespace(_actor_cache=_ObjectCache(), get_trials=list, get_live_trials=set)
    scheduler = EarlyStopping({}, 0, lambda _: None)
    try:
        scheduler.on_trial_add(tune_controller, trial=None)
        first = tune_controller._actor_cache
        scheduler.on_trial_add(tune_controller, trial=None)
        assert isinstance(first, IdleHosts)
        assert tune_controller._actor_cache is first
    finally:
        scheduler.close()
