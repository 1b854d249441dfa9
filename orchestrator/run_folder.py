"""A campaign's folder: its configuration, its lease (one driver at a time) and the request to stop."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cognition.folders import Folder, Place, folder_at
from orchestrator.errors import UsageError
from orchestrator.lease import HEARTBEAT_S, LEASE, Holder, lease_of

CONFIG = "config.yaml"
STOP = "stop.request"
MEND = "see that the bucket is there, and that AWS_ENDPOINT_URL, AWS_REGION and the keys are set where this runs"
_SHOWN_DIFFERENCES = 4

# What may change between two starts of the same campaign; everything else is the campaign's identity.
MAY_CHANGE = re.compile(
    r"(run|budget|cluster|pools|tracking|inbox|checkpoints|efficiency)\..*"
    r"|stages\.[^.]+\.(pool|more_seeds)|flow\.(grace_s|store_patience_s)"
    r"|llm\.(retries\..*|patience|max_corrections|unknown_price)"
    r"|llm\.models\.[^.]+\.(api_base|price(\..*)?|concurrency|requests_per_minute|tokens_per_minute|timeout_s|structured"
    r"|temperature)"
)


class RunFolder:
    """Files and rules of one run folder, on disk or in an object store.

    In an object store the heartbeat, and the look for a request to stop, are a thread's: nobody waits for them.

    Raises:
        UsageError: from `claim`, when the folder is not ours, not writable, held, or of another configuration.
    """

    def __init__(self, place: Place) -> None:
        try:
            self.folder: Folder = folder_at(place)
        except ValueError as error:
            raise UsageError(f"run folder {error}") from error
        except OSError as error:
            raise UsageError(f"run folder {place} cannot be reached ({_reason(error)}): {MEND}") from error
        self._lease = lease_of(self.folder)
        self._held = False
        self._watch: threading.Thread | None = None
        self._let_go = threading.Event()
        self._stop: bytes | None = None  # the request, as the watch has seen it

    @property
    def place(self) -> Place:
        """Its path, or its URI."""
        return self.folder.place

    @property
    def scratch(self) -> Path:
        """Where this machine keeps what people look at beside the campaign: the run folder itself where it is here."""
        if self.folder.path is not None:
            return self.folder.path
        return Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}" / self.folder.name

    @property
    def exists(self) -> bool:
        """Whether a campaign was made in it. Raises UsageError where that cannot be known."""
        return self._found(CONFIG) is not None

    @property
    def lost(self) -> str | None:
        """Why this driver has to end, where another one has taken the folder over."""
        return self._lease.lost if self._held else None

    @property
    def last_beat(self) -> float:
        """Of whoever drove it before, where that ended without releasing it."""
        return self._lease.last_beat

    @classmethod
    def existing(cls, place: Place) -> RunFolder:
        """The folder of a campaign that has been started before."""
        folder = cls(place)
        if not folder.exists:
            raise UsageError(
                f"{place} is not a campaign's folder (it has no {CONFIG}): give the path that a run printed"
            )
        return folder

    def claim(self, config: Mapping[str, Any], facts: Mapping[str, Any], now: float) -> None:
        """Create or enter the folder as its one driver.

        Args:
            config: resolved settings as plain values; compared with what the folder was made with.
            facts: versions and hashes, written beside the configuration when the folder is made.
            now: seconds since the epoch.
        """
        self._stop = None
        try:
            self._enter()
            self._lease.take(now)
            self._held = True
            self._agree(config, facts)
            self.folder.remove(STOP)
        except OSError as error:
            self.release()
            raise UsageError(
                f"{self.folder} cannot be written ({_reason(error)}): choose another run.root or mend its permissions"
            ) from error
        except BaseException:
            self.release()
            raise
        if self.folder.path is None:
            self._let_go.clear()
            self._watch = threading.Thread(target=self._watched, name="lease", daemon=True)
            self._watch.start()

    def settings(self) -> dict[str, Any]:
        """The settings that the folder was made with, as plain values."""
        try:
            settings = yaml.safe_load(self.folder.read(CONFIG))["settings"]
        except (KeyError, TypeError) as error:
            raise UsageError(
                f"{self.folder.where(CONFIG)} is not a campaign's configuration: give the path that a run printed"
            ) from error
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.folder.where(CONFIG)} cannot be read ({error}): restore it, or start with run.fresh=true"
            ) from error
        assert isinstance(settings, dict)
        return settings

    def beat(self, now: float) -> None:
        """Say that the driver lives, unless a thread does."""
        if self._held and self._watch is None:
            self._lease.beat(now)

    def confirm(self) -> None:
        """Raise UsageError where another driver has the folder by now, OSError where that cannot be known; at once."""
        if self._held:
            self._lease.confirm()

    def release(self) -> None:
        if self._held:
            self._held = False
            self._let_go.set()
            self._lease.release()
            if self._watch is not None:
                self._watch.join()
                self._watch = None

    def holder(self, now: float) -> Holder | None:
        """Who drives the campaign at this moment, as far as another process can tell.

        Raises:
            UsageError: the folder cannot be reached.
        """
        try:
            return self._lease.holder(now)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be read ({_reason(error)})") from error

    def ask_to_stop(self, now: float, *, at_once: bool = False) -> None:
        self._write(STOP, json.dumps({"asked_at": now, "at_once": at_once}))

    @property
    def asked_to_stop(self) -> bool:
        return self._request() is not None

    @property
    def asked_to_stop_at_once(self) -> bool:
        """Without finishing what is nearly done."""
        try:
            return bool(json.loads(self._request() or b"{}").get("at_once"))
        except (ValueError, AttributeError):
            return False

    def _request(self) -> bytes | None:
        if self._watch is not None:
            return self._stop
        try:
            return self.folder.read(STOP)
        except OSError:
            return None

    def _watched(self) -> None:
        while not self._let_go.wait(HEARTBEAT_S):
            self._lease.beat(time.time())
            try:
                self._stop = self.folder.read(STOP)
            except OSError:
                continue

    def _agree(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the configuration down, or find it the one that is there."""
        if not self.exists:
            self._write(CONFIG, yaml.safe_dump({"settings": dict(config), "facts": dict(facts)}, sort_keys=False))
        elif differences := _differences(self.settings(), dict(config)):
            raise UsageError(
                f"{self.folder} was made with another configuration: {_some(differences)}. "
                "Use the same values, or run.name=OTHER, or run.fresh=true"
            )

    def _enter(self) -> None:
        self.folder.create()
        if not self.exists:
            foreign = [entry for entry in self.folder.entries() if entry not in (LEASE, STOP)]
            if foreign:
                raise UsageError(
                    f"{self.folder} holds something else ({', '.join(sorted(foreign)[:3])}) and no campaign: "
                    "choose another run.name or run.root"
                )
        if self.folder.path is not None:  # elsewhere the lease is written in the same way as the rest
            probe = self.folder.path / ".writable"
            probe.touch()
            probe.unlink()

    def _found(self, name: str) -> bytes | None:
        try:
            return self.folder.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            mend = MEND if self.folder.path is None else "mend its permissions"
            raise UsageError(f"{self.folder.where(name)} cannot be read ({_reason(error)}): {mend}") from error

    def _write(self, name: str, text: str) -> None:
        """Write the file or leave what was there. Raises UsageError when the folder refuses."""
        try:
            self.folder.write(name, text.encode())
        except OSError as error:
            raise UsageError(
                f"{self.folder.where(name)} cannot be written ({_reason(error)}): make room on the disk or mend "
                "the folder"
            ) from error


def fresh_path(place: Place) -> Place:
    """The first of place, place-2, place-3, ... that does not exist."""
    number, candidate = 1, place
    while _taken(candidate):
        number += 1
        candidate = _numbered(place, number)
    return candidate


def _taken(place: Place) -> bool:
    try:
        return folder_at(place).exists()
    except OSError as error:
        raise UsageError(f"{place} cannot be reached ({_reason(error)}): choose another run.root") from error


def _numbered(place: Place, number: int) -> Place:
    if isinstance(place, Path):
        return place.with_name(f"{place.name}-{number}")
    path, question, options = place.partition("?")
    return f"{path}-{number}{question}{options}"


def wait_until_free(folder: RunFolder, timeout_s: float) -> bool:
    """Wait until nobody drives the campaign; False when somebody still does after the time-out."""
    deadline = time.monotonic() + timeout_s
    while folder.holder(time.time()) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2 if folder.folder.path is not None else 1.0)
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    flat_old, flat_new = _flatten(old), _flatten(new)
    return [
        f"{key} was {flat_old.get(key)!r}, now {flat_new.get(key)!r}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if not MAY_CHANGE.fullmatch(key) and flat_old.get(key) != flat_new.get(key)
    ]


def _some(differences: list[str]) -> str:
    more = len(differences) - _SHOWN_DIFFERENCES
    return "; ".join(differences[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(value, Mapping) for value in values):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat
