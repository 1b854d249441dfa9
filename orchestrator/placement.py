"""Placement groups of this Ray job: what its trials' resources are set aside with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

_GONE = "REMOVED"


def groups_of_this_job() -> frozenset[str]:
    """Ids of the groups that this job holds; an id ends with that of its job."""
    job = ray.get_runtime_context().get_job_id()
    table: dict[str, dict[str, Any]] = placement_group_table()
    return frozenset(name for name, group in table.items() if name.endswith(job) and group["state"] != _GONE)


def remove(groups: Collection[str]) -> None:
    """Give back what they set aside."""
    for name in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))
