"""Who a child is: a user of its own where the server is root, without any capability."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from models.sandbox import linux
from models.sandbox.layer import Jail, MissingLayer
from models.sandbox.own_process import limit_threads

FIRST_USER = 2_000_000_000
"""Added to a child's process id: a user id that no account has, and no two living children share."""

_NOBODY = 65_534
_MAX_CAPABILITIES = 64


def no_new_privileges(jail: Jail) -> str:
    """No program that it starts gains anything by being set-user-id, nor by being started by root."""
    if not linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1):
        raise MissingLayer("not Linux", "run on Linux")
    with suppress(OSError):
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_MAX_CAPABILITIES):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, number)
        except OSError:  # past the last one; or there was never a capability to lose
            break
    return "no privilege can be gained"


def other_user(jail: Jail) -> str:
    """Become a user whom nothing belongs to but the scratch folder."""
    if sys.platform != "linux":
        raise MissingLayer("not Linux", "run on Linux")
    if os.geteuid() != 0:
        raise MissingLayer(
            f"only root can change the user; children run as user {os.geteuid()}, like their server",
            "start as root, or rely on the other layers",
            required=False,
        )
    own = FIRST_USER + os.getpid()
    for number in (own, _NOBODY):
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            for place in (jail.scratch, 1):
                os.chown(place, number, number)
            os.setresuid(number, number, number)
        except OSError as error:
            reason = str(error)
            continue
        # A change of user clears both.
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        if os.getppid() != jail.server_pid:
            os._exit(1)
        if number == own:
            limit_threads(jail.limits.processes + jail.limits.threads)
            return "a user of its own"
        return f"user {_NOBODY}, shared with its siblings: {reason}"
    raise MissingLayer(reason, "give a container CAP_SETUID, CAP_SETGID and CAP_CHOWN")


def no_capabilities(jail: Jail) -> str:
    """Drop every capability, also those that root keeps."""
    try:
        linux.drop_capabilities()
    except AttributeError:
        raise MissingLayer("not Linux", "run on Linux") from None
    return "none"
