"""Landlock: the files that a child may open, and nothing else; no TCP, no signal to, and no memory of, others.

Landlock decides when a file is opened: what is open already, or mapped, stays usable. It does not cover a file's
metadata (existence, mode, owner, times).
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from models.sandbox.layer import Device, Jail, MissingLayer

# A shared mapping of /dev/zero is memory that no process is charged for: it stays out.
_READ_ONLY = ("/proc/cpuinfo", "/dev/urandom", "/dev/random")
_SINK = "/dev/null"
_PROGRAMS = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt/rocm", "/opt/cuda", "/etc/alternatives")
_PROGRAM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_TO_MEET = ("/sys/bus/pci/devices", "/sys/devices")  # gloo looks for the devices that are near each other
_SYSTEM = ("/proc", "/sys")
_DEVICES = ("/dev/nvidia*", "/dev/dri")
_SHARED_MEMORY = "/dev/shm"
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_OWN_PACKAGES = ("models", "kernels", "cognition")
_ROOT = Path(__file__).resolve().parents[2]
_LOGGED_ABI = 7  # from which on denials are written to the audit log unless that is declined
_importers: list[object] = []


class FileRules:
    """Landlock rules for one device, found once in the server; every child makes its own rule set of them."""

    def __init__(self, landlock: Any, device: Device) -> None:
        self._landlock = landlock
        self._device = device
        self._abi = landlock.get_abi_version()
        self._shared_memory = _device_of(_SHARED_MEMORY)
        self._installation = _installation() if device == "cuda" else ()

    @classmethod
    def prepare(cls, device: Device) -> Self | MissingLayer:
        """The rules, or why this platform has none."""
        if sys.platform != "linux":
            return MissingLayer("not Linux", "run on Linux")
        try:
            import py_landlock
        except ImportError:
            return MissingLayer("py-landlock is not installed", "pip install py-landlock")
        try:
            return cls(py_landlock, device)
        except py_landlock.LandlockError as error:
            return MissingLayer(
                str(error),
                "run Linux 5.13 or later with landlock in the kernel's lsm= list, outside of a container"
                " whose system call filter refuses it",
            )

    def apply(self, *, to_meet: bool = False) -> str:
        """Confine this process, whose working directory is its scratch folder. Raises OSError, LandlockError.

        `to_meet` leaves what ranks need to meet, TCP and facts about devices, for them to give up by rules without it.
        """
        from py_landlock.abi import get_supported_fs, get_supported_net, get_supported_scope

        self._restrict(
            get_supported_fs(self._abi),
            0 if to_meet else get_supported_net(self._abi),
            get_supported_scope(self._abi),
            _TO_MEET if to_meet else (),
        )
        missing = [
            what
            for what, number in (("truncation", 3), ("TCP", 4), ("devices", 5), ("signals", 6))
            if self._abi < number
        ]
        return f"Landlock ABI {self._abi}" + (f", too old to hold back {', '.join(missing)}" if missing else "")

    def set_apart(self) -> None:
        """No signal to, and no memory of, whoever is confined by the same rules. Raises OSError, LandlockError."""
        from py_landlock.abi import get_supported_scope

        if scoped := get_supported_scope(self._abi):  # rules about nothing are refused
            self._restrict(0, 0, scoped)

    def _restrict(self, files: int, net: int, scoped: int, readable: Iterable[str] = ()) -> None:
        """One more set of rules on top of those that hold for this thread, and those it starts."""
        from py_landlock.prctl import set_no_new_privs

        attributes = self._landlock.RulesetAttr()
        attributes.handled_access_fs = files
        attributes.handled_access_net = net
        attributes.scoped = scoped
        rule_set = self._landlock.create_ruleset(attributes)
        try:
            for path, access in self._rules() if files else ():
                self._allow(rule_set, path, access & files)
            may = self._landlock.AccessFs
            for path in readable:
                self._allow(rule_set, path, may.READ_FILE | may.READ_DIR)
            set_no_new_privs()
            quiet = self._landlock.RestrictSelfFlag.LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF
            self._landlock.restrict_self(rule_set, quiet if self._abi >= _LOGGED_ABI else None)
        finally:
            os.close(rule_set)

    def _rules(self) -> Iterable[tuple[str, int]]:
        """Paths and what may be done there; rights of folders are left out for files."""
        may = self._landlock.AccessFs
        read = may.READ_FILE | may.READ_DIR
        keep = read | may.WRITE_FILE | may.TRUNCATE | may.MAKE_REG | may.MAKE_DIR
        yield _SINK, may.READ_FILE | may.WRITE_FILE
        for path in _READ_ONLY:
            yield path, may.READ_FILE
        if self._device == "cpu":
            # Nothing can be removed while it is open, so that all that was written can be seen and counted.
            yield ".", keep
            return
        yield ".", keep | may.REMOVE_FILE | may.REMOVE_DIR | may.REFER
        for path in self._installation:
            yield path, read | may.EXECUTE
        for path in (*_SYSTEM, *_PROGRAM_FILES):
            yield path, read
        for path in _DEVICES:
            for node in glob.glob(path):
                yield node, read | may.WRITE_FILE | may.IOCTL_DEV
        if _device_of(_SHARED_MEMORY) != self._shared_memory:  # its own, not everyone's
            yield _SHARED_MEMORY, keep | may.REMOVE_FILE

    def _allow(self, rule_set: int, path: str, access: int) -> None:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # not on this machine, or not for this user
            return
        try:
            if not os.path.isdir(path):
                may = self._landlock.AccessFs
                access &= may.READ_FILE | may.WRITE_FILE | may.TRUNCATE | may.EXECUTE | may.IOCTL_DEV
            if access:
                rule = self._landlock.PathBeneathAttr()
                rule.allowed_access = access
                rule.parent_fd = fd
                self._landlock.add_rule(rule_set, rule)
        finally:
            os.close(fd)


def file_rules(jail: Jail) -> str:
    """Open nothing but the scratch, and on CUDA what the compilers and the driver need."""
    detail = _rules_of(jail).apply(to_meet=jail.num_processes > 1)
    # What is left to import and cannot be read shall be missing, not forbidden, as optional imports expect.
    _importers.append(sys.path_importer_cache)  # kept, since freeing it would copy what the children share
    sys.path_importer_cache = {}
    return detail


def apart(jail: Jail) -> str:
    """Keep a rank from the other ranks and from their keeper."""
    _rules_of(jail).set_apart()
    return "no signal to, and no memory of, other ranks"


def after_meeting(jail: Jail) -> str:
    """The rules of a child that is alone, for all but the threads that the ranks' rendezvous has started."""
    return _rules_of(jail).apply()


def _rules_of(jail: Jail) -> FileRules:
    rules = jail.tools.file_rules
    if isinstance(rules, MissingLayer):
        raise rules
    return rules


def _installation() -> tuple[str, ...]:
    """Python, the packages, our own packages, system libraries and compilers; each folder once."""
    folders = {
        *_PROGRAMS,
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.path.realpath(sys.executable)),
        os.path.dirname(os.__file__),
        *(str(_ROOT / name) for name in _OWN_PACKAGES),
        *_folders_of_imports(),
        # Of a virtual environment within another one, the outer one's too: single files are imported from there.
        *(path for path in sys.path if os.path.basename(path) in _PACKAGE_FOLDERS),
    }
    if cuda := os.environ.get("CUDA_HOME"):
        folders.add(cuda)
    kept: list[str] = []
    # By their real places: what is linked into a folder is not covered by it.
    for folder in sorted({os.path.realpath(folder) for folder in folders if os.path.isdir(folder)}):
        if not any(folder.startswith(f"{other}/") for other in kept):
            kept.append(folder)
    return tuple(kept)


def _folders_of_imports() -> set[str]:
    """The folders of the packages that the server has imported, wherever they are installed."""
    folders: set[str] = set()
    for name, module in list(sys.modules.items()):
        paths = getattr(module, "__path__", None)
        if "." not in name and name not in _OWN_PACKAGES and paths is not None:
            folders.update(str(path) for path in paths)
    return folders


def _device_of(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None
