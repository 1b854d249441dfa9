"""Framed messages over a stream socket: a JSON header and raw arrays, every size bounded by the receiver.

The peer may be hostile. A frame is a fixed prefix (magic, header length), a JSON object
`{"kind", "body", "arrays": [{"name", "dtype", "shape"}, ...]}` and the arrays' bytes in that order, C-contiguous,
little-endian. Nothing is unpickled. Whatever the peer does ends in a message or in a `WireError`.

Not guaranteed: that a peer tells the truth, or that it keeps a sensible order of messages. That is the caller's check.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Array = NDArray[Any]

MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 20_000
MAX_NAME_CHARS = 512
MAX_DIMENSIONS = 8

_MAGIC = b"aro1"
_PREFIX = struct.Struct("<4sI")
_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64")
}


class WireError(Exception):
    """The conversation cannot go on; the subclass says why."""


class PeerGoneError(WireError):
    """The peer closed the connection or died, perhaps in the middle of a message."""


class PeerSilentError(WireError):
    """The deadline passed before the whole message had gone over."""


class MalformedError(WireError):
    """The peer sent what is no message, or not the message that was due."""


class TooLargeError(WireError):
    """A message beyond the limit that this side set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; the readers below check what a hostile peer put into its body."""

    kind: str
    body: Mapping[str, Json] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def text(self, name: str, *, limit: int = 20_000) -> str:
        """A string, cut to `limit` characters and free of lone surrogates. Raises MalformedError."""
        value = self.body.get(name)
        if not isinstance(value, str):
            raise MalformedError(f"{self.kind}.{name} is {type(value).__name__}, expected a string")
        return value[:limit].encode("utf-8", "replace").decode()

    def integer(self, name: str, *, low: int = 0, high: int = 1 << 53) -> int:
        """A whole number in [low, high]. Raises MalformedError."""
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise MalformedError(
                f"{self.kind}.{name} is {ascii(value)[:80]}, expected a whole number in [{low}, {high}]"
            )
        return value

    def real(self, name: str) -> float:
        """A finite number. Raises MalformedError."""
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise MalformedError(f"{self.kind}.{name} is {ascii(value)[:80]}, expected a finite number")
        return float(value)

    def optional_real(self, name: str) -> float | None:
        """A finite number or null. Raises MalformedError."""
        return None if self.body.get(name) is None else self.real(name)

    def optional_integer(self, name: str) -> int | None:
        """A whole number from 0 or null. Raises MalformedError."""
        return None if self.body.get(name) is None else self.integer(name)

    def table(self, name: str) -> dict[str, Json]:
        """A JSON object. Raises MalformedError."""
        value = self.body.get(name)
        if not isinstance(value, dict):
            raise MalformedError(f"{self.kind}.{name} is {type(value).__name__}, expected an object")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings. Raises MalformedError."""
        value = self.body.get(name)
        if not isinstance(value, list):
            raise MalformedError(f"{self.kind}.{name} is {type(value).__name__}, expected a list")
        items = Message(kind=f"{self.kind}.{name}", body={str(index): item for index, item in enumerate(value)})
        return tuple(items.text(index) for index in items.body)

    def rows(self, name: str) -> list[dict[str, Json]]:
        """A list of JSON objects. Raises MalformedError."""
        value = self.body.get(name)
        if not isinstance(value, list):
            raise MalformedError(f"{self.kind}.{name} is {type(value).__name__}, expected a list")
        rows = [row for row in value if isinstance(row, dict)]
        if len(rows) != len(value):
            raise MalformedError(f"{self.kind}.{name} holds something that is no object")
        return rows

    def reals(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers. Raises MalformedError."""
        value = self.body.get(name)
        if not isinstance(value, list):
            raise MalformedError(f"{self.kind}.{name} is {type(value).__name__}, expected a list")
        items = Message(kind=f"{self.kind}.{name}", body={str(index): item for index, item in enumerate(value)})
        return tuple(items.real(index) for index in items.body)

    def array(self, name: str) -> Array:
        """One of the message's arrays. Raises MalformedError."""
        if name not in self.arrays:
            raise MalformedError(f"{self.kind} has no array {name!r}")
        return self.arrays[name]


def send(
    connection: socket.socket,
    kind: str,
    body: Mapping[str, Json] | None = None,
    arrays: Mapping[str, Array] | None = None,
    *,
    deadline: float | None = None,
) -> None:
    """Send one message before `deadline` (seconds of the monotonic clock).

    Raises ValueError for what this side may not send (a dtype, NaN in the body), TooLargeError for a header beyond
    MAX_HEADER_BYTES, PeerGoneError or PeerSilentError.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    entries = []
    for name, array in contiguous.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"array {name!r} has dtype {array.dtype}; convert it to one of {', '.join(_DTYPES)}")
        # ascontiguousarray lifts a scalar to one dimension: the shape is the caller's.
        entries.append({"name": name, "dtype": array.dtype.name, "shape": list(np.shape((arrays or {})[name]))})
    header = {"kind": kind, "body": dict(body or {}), "arrays": entries}
    encoded = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    if len(encoded) > MAX_HEADER_BYTES:
        raise TooLargeError(f"the header of {kind!r} has {len(encoded)} bytes, the limit is {MAX_HEADER_BYTES}")
    _send_bytes(connection, _PREFIX.pack(_MAGIC, len(encoded)) + encoded, deadline)
    for array in contiguous.values():
        if array.size:
            little_endian = array.astype(_DTYPES[array.dtype.name], copy=False)
            _send_bytes(connection, little_endian.reshape(-1).view(np.uint8).data, deadline)


def receive(connection: socket.socket, *, max_array_bytes: int = 0, deadline: float | None = None) -> Message:
    """The next message, its arrays within `max_array_bytes` in total.

    Raises PeerGoneError, PeerSilentError, MalformedError or TooLargeError; the connection is useless after any of them.
    """
    magic, header_bytes = _PREFIX.unpack(_receive_bytes(connection, _PREFIX.size, deadline))
    if magic != _MAGIC:
        raise MalformedError(f"expected a message, got bytes that begin with {magic!r}")
    if header_bytes > MAX_HEADER_BYTES:
        raise TooLargeError(f"a header of {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}")
    header = _parse(_receive_bytes(connection, header_bytes, deadline))
    kind, body, entries = header.get("kind"), header.get("body"), header.get("arrays")
    if not isinstance(kind, str) or not isinstance(body, dict) or not isinstance(entries, list):
        raise MalformedError("a header without kind, body and arrays")
    if len(kind) > MAX_NAME_CHARS or len(entries) > MAX_ARRAYS:
        raise TooLargeError(f"a kind of {len(kind)} characters with {len(entries)} arrays")
    layouts = [_layout(entry) for entry in entries]
    if len({layout.name for layout in layouts}) != len(layouts):
        raise MalformedError(f"{kind!r} names an array twice")
    total = sum(layout.num_bytes for layout in layouts)
    if total > max_array_bytes:
        raise TooLargeError(f"{kind!r} carries arrays of {total} bytes, the limit is {max_array_bytes}")
    arrays = {layout.name: layout.read(connection, deadline) for layout in layouts}
    return Message(kind=kind, body=body, arrays=arrays)


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until `deadline`, None without one. Raises PeerSilentError when it has passed."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise PeerSilentError("the deadline has passed")
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    num_bytes: int

    def read(self, connection: socket.socket, deadline: float | None) -> Array:
        flat = np.empty(self.num_bytes, np.uint8)
        if self.num_bytes:
            _receive_into(connection, flat.data, deadline)
        if self.dtype.kind == "b" and flat.size and flat.max() > 1:
            raise MalformedError(f"array {self.name!r} has booleans other than 0 and 1")
        return flat.view(self.dtype).reshape(self.shape)


def _layout(entry: Json) -> _Layout:
    if not isinstance(entry, dict):
        raise MalformedError("an array without name, dtype and shape")
    name, dtype_name, shape = entry.get("name"), entry.get("dtype"), entry.get("shape")
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
        raise MalformedError("an array without a name, or with one that is too long")
    if not isinstance(dtype_name, str) or dtype_name not in _DTYPES:
        raise MalformedError(f"array {name!r} has dtype {ascii(dtype_name)[:40]}, expected one of {', '.join(_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise MalformedError(f"array {name!r} has no shape of at most {MAX_DIMENSIONS} dimensions")
    dims: list[int] = []
    for dim in shape:
        if isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < 1 << 40:
            raise MalformedError(f"array {name!r} has a dimension of {ascii(dim)[:40]}")
        dims.append(dim)
    # A product with a zero in it hides absurd other dimensions, which numpy would refuse: they count as one.
    if math.prod(max(dim, 1) for dim in dims) >= 1 << 40:
        raise TooLargeError(f"array {name!r} has shape {dims}")
    dtype = _DTYPES[dtype_name]
    return _Layout(name=name, dtype=dtype, shape=tuple(dims), num_bytes=math.prod(dims) * dtype.itemsize)


def _parse(encoded: bytes | bytearray) -> dict[str, Json]:
    try:
        header = json.loads(encoded, parse_constant=_refuse_constant, parse_float=_finite_float)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"a header that is no JSON: {str(error)[:200]}") from None
    if not isinstance(header, dict):
        raise MalformedError("a header that is no JSON object")
    return header


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that may be sent")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond a float")
    return value


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def _wait(connection: socket.socket, events: int, deadline: float | None) -> None:
    left = seconds_left(deadline)
    if connection.fileno() < 0:
        raise PeerGoneError("the connection is closed on this side")
    poll = select.poll()
    poll.register(connection, events)
    if not poll.poll(None if left is None else max(1, math.ceil(left * 1000))):
        raise PeerSilentError("the deadline has passed")


def _send_bytes(connection: socket.socket, data: bytes | memoryview, deadline: float | None) -> None:
    view = memoryview(data)
    while view:
        _wait(connection, select.POLLOUT, deadline)
        try:
            view = view[connection.send(view, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise PeerGoneError(f"the connection is gone: {error.strerror}") from None


def _receive_bytes(connection: socket.socket, num_bytes: int, deadline: float | None) -> bytearray:
    data = bytearray(num_bytes)
    if num_bytes:
        _receive_into(connection, memoryview(data), deadline)
    return data


def _receive_into(connection: socket.socket, view: memoryview, deadline: float | None) -> None:
    while view:
        _wait(connection, select.POLLIN, deadline)
        try:
            count = connection.recv_into(view, flags=socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError as error:
            raise PeerGoneError(f"the connection is gone: {error.strerror}") from None
        if count == 0:
            raise PeerGoneError("the connection was closed")
        view = view[count:]
