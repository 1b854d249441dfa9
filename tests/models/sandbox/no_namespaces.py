"""The hostile tasks on a machine that refuses namespaces."""

from hostile_tasks import TASKS
from jail_tasks import without_namespaces as warm_up

__all__ = ["TASKS", "warm_up"]
