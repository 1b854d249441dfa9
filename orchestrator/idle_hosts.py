"""Hosts of trials that have nothing to do, kept until their room is needed for a trial of another shape.

Tune keeps one idle actor at most, so that after every moment in which several slots had nothing to do all but one would
start anew: a process, an import of torch, a context on a GPU. Its cache is not public; constraints.txt pins Ray.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ray.tune.utils.object_cache import _ObjectCache


class IdleHosts(_ObjectCache):
    """Tune's cache of actors by shape, which gives up none while every trial that waits has the same shape."""

    def cache_object(self, key: Any, obj: Any) -> bool:
        if self._others_wait(key):
            return bool(super().cache_object(key, obj))
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        for key, hosts in self._cached_objects.items():
            kept = 0 if force_all else self._max_num_objects[key] if self._others_wait(key) else len(hosts)
            while len(hosts) > kept:
                self._num_cached_objects -= 1
                yield hosts.pop(0)

    def _others_wait(self, key: Any) -> bool:
        """Whether a trial of another shape is to be placed, which may need this room."""
        return any(num > 0 for other, num in self._max_num_objects.items() if other != key)


def keep_idle_hosts(tune_controller: Any) -> None:
    """Before its first trial; idempotent."""
    if not isinstance(tune_controller._actor_cache, IdleHosts):
        tune_controller._actor_cache = IdleHosts()
