import json
import math
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sandbox import wire


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def frame(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sI", b"aro1", len(encoded)) + encoded + data


def arrays_header(**entry: object) -> dict[str, object]:
    return {"kind": "k", "body": {}, "arrays": [{"name": "a", "dtype": "float32", "shape": [2]} | entry]}


def received(data: bytes, limit: int = 100) -> wire.Message:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        return wire.receive(other, max_array_bytes=limit, deadline=time.monotonic() + 60)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array(2.5),
        np.zeros((0, 4), np.int64),
        np.array([True, False]),
        np.array([1, 2], dtype=">i4"),
        np.array([1 + 2j], np.complex64),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_arrive_as_they_were_sent(ends: tuple[socket.socket, socket.socket], array: np.ndarray) -> None:
    wire.send(ends[0], "k", {"n": 1, "text": "ä"}, {"a": array})
    message = wire.receive(ends[1], max_array_bytes=array.nbytes)
    assert message.kind == "k"
    assert message.body == {"n": 1, "text": "ä"}
    assert message.array("a").shape == array.shape
    np.testing.assert_array_equal(message.array("a"), array)


def test_messages_follow_one_another_on_one_connection(ends: tuple[socket.socket, socket.socket]) -> None:
    for number in range(3):
        wire.send(ends[0], "k", {"n": number}, {"a": np.full(3, number)})
    assert [wire.receive(ends[1], max_array_bytes=24).integer("n") for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_numbers_are_not_sent(ends: tuple[socket.socket, socket.socket], value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.send(ends[0], "k", {"loss": value})


def test_object_arrays_are_not_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(ValueError, match="has dtype object; convert it"):
        wire.send(ends[0], "k", arrays={"a": np.array([object()])})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", wire.MalformedError),
        (frame(b"[1, 2]"), wire.MalformedError),
        (frame(b"[" * 100_000), wire.MalformedError),
        (frame(b"\xff\xfe"), wire.MalformedError),
        (frame(b'{"kind": "k", "body": {"loss": NaN}, "arrays": []}'), wire.MalformedError),
        (frame(b'{"kind": "k", "body": {"loss": 1e999}, "arrays": []}'), wire.MalformedError),
        (frame({"kind": "k"}), wire.MalformedError),
        (frame({"kind": 1, "body": {}, "arrays": []}), wire.MalformedError),
        (frame(arrays_header(dtype="object")), wire.MalformedError),
        (frame(arrays_header(dtype=["f4"])), wire.MalformedError),
        (frame(arrays_header(shape=[-1])), wire.MalformedError),
        (frame(arrays_header(shape=[True])), wire.MalformedError),
        (frame(arrays_header(shape=[1.0])), wire.MalformedError),
        (frame(arrays_header(shape=[1] * 40)), wire.MalformedError),
        (frame(arrays_header(shape=[0, 1 << 39, 1 << 39])), wire.TooLargeError),
        (frame(arrays_header(shape=[1 << 39, 1 << 39])), wire.TooLargeError),
        (frame(arrays_header(shape=[26])), wire.TooLargeError),
        (frame(arrays_header(name="x" * 600)), wire.MalformedError),
        (frame(arrays_header(dtype="bool"), b"\x02\x01"), wire.MalformedError),
        (frame({"kind": "k", "body": {}, "arrays": arrays_header()["arrays"] * 2}), wire.MalformedError),  # type: ignore[operator]
        (struct.pack("<4sI", b"aro1", (1 << 20) + 1), wire.TooLargeError),
        (frame(arrays_header(), b"1234"), wire.PeerGoneError),
        (b"", wire.PeerGoneError),
        (b"ar", wire.PeerGoneError),
    ],
)
def test_what_is_no_message_ends_in_a_typed_error(data: bytes, error: type[wire.WireError]) -> None:
    with pytest.raises(error):
        received(data)


@given(st.binary(max_size=200))
def test_random_bytes_never_escape_as_another_error(data: bytes) -> None:
    for sent in (data, frame(data)):
        with pytest.raises(wire.WireError):
            received(sent)


def test_a_silent_peer_is_waited_for_no_longer_than_the_deadline(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(wire.PeerSilentError):
        wire.receive(ends[1], deadline=time.monotonic() + 0.1)


def test_a_peer_that_never_reads_does_not_hold_the_sender(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(wire.PeerSilentError):
        wire.send(ends[0], "k", arrays={"a": np.zeros(10_000_000)}, deadline=time.monotonic() + 0.1)


def test_a_closed_peer_is_a_typed_error_for_the_sender(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(wire.PeerGoneError):
        wire.send(ends[0], "k", arrays={"a": np.zeros(10_000_000)})


def test_readers_check_what_the_body_holds() -> None:
    message = wire.Message(kind="k", body={"flag": True, "big": 10**400, "text": "a\ud800b", "rows": [1], "n": 3})
    for name in ("flag", "big", "text", "missing"):
        with pytest.raises(wire.MalformedError):
            message.real(name)
        with pytest.raises(wire.MalformedError):
            message.integer(name)
    with pytest.raises(wire.MalformedError):
        message.integer("n", low=4)
    with pytest.raises(wire.MalformedError):
        message.rows("rows")
    with pytest.raises(wire.MalformedError):
        message.array("a")
    assert message.text("text") == "a?b"
    assert message.real("n") == 3.0
