"""The sandbox's tasks in a fork server that is no longer root: everything is imported, then the user is changed."""

from __future__ import annotations

import ctypes
import os

from models.sandbox import tasks
from models.sandbox.tasks import TASKS as TASKS

USER = 65_534  # nobody
_PR_SET_DUMPABLE = 4


def warm_up() -> None:
    """As for any server; then give up root, as if an ordinary user had started it."""
    tasks.warm_up()
    scratch = os.environ["HOME"]
    os.chown(scratch, USER, USER)
    for name in os.listdir(scratch):
        os.chown(os.path.join(scratch, name), USER, USER)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    # A process that was started by this user would be so; one that changed its user is not.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
