"""A real S3 server on this machine, which counts what it is asked for, and refuses or loses answers when told to."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BUCKET = "runs"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
Asked = Callable[[str, str], bool]  # of a method and a key


class ObjectStore:
    """Moto's server with an eye on every request."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        self._app = self._server._server.app  # type: ignore[union-attr]
        self._server._server.app = self._answer  # type: ignore[union-attr]
        self._lock = threading.Lock()
        self._asked: list[tuple[str, str]] = []
        self._refused: Asked | None = None
        self._lost: Asked | None = None
        self._create_bucket()

    def close(self) -> None:
        self._server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """With which s3://BUCKET/... means this server."""
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://{self.host}:{self.port}"}

    def uri(self, path: str = "") -> str:
        """Of a folder in the bucket; a new one unless it is named."""
        path = path or uuid.uuid4().hex
        return f"s3://{BUCKET}/{path}?endpoint_override={self.host}:{self.port}&scheme=http&region=us-east-1"

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """How often each method was asked for, once this has ended."""
        counts: Counter[str] = Counter()
        with self._lock:
            first = len(self._asked)
        yield counts
        with self._lock:
            counts.update(method for method, _ in self._asked[first:])

    @contextlib.contextmanager
    def refusing(self, asked: Asked = lambda method, key: True) -> Iterator[None]:
        """Nothing of it is done."""
        self._refused = asked
        try:
            yield
        finally:
            self._refused = None

    @contextlib.contextmanager
    def losing_answers(self, asked: Asked) -> Iterator[None]:
        """It is done, and whoever asked is told of an error."""
        self._lost = asked
        try:
            yield
        finally:
            self._lost = None

    def refuse(self, asked: Asked | None) -> None:
        """From now on; None: no more."""
        self._refused = asked

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(f"/{BUCKET}").lstrip("/")
        with self._lock:
            self._asked.append((method, key))
        if self._refused is not None and self._refused(method, key):
            return _unavailable(environ, start_response)
        if self._lost is not None and self._lost(method, key):
            list(self._app(environ, lambda *_: None))
            return _unavailable(environ, start_response)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def _create_bucket(self) -> None:
        from pyarrow import fs

        endpoint = f"{self.host}:{self.port}"
        filesystem = fs.S3FileSystem(
            endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        filesystem.create_dir(BUCKET)


def _unavailable(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
    return [b"<Error><Code>ServiceUnavailable</Code><Message>away</Message></Error>"]


@contextlib.contextmanager
def object_store_here() -> Iterator[ObjectStore]:
    """One for as long as this lasts, with the keys it wants in the environment."""
    kept = {name: os.environ.get(name) for name in (*ENVIRONMENT, "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_PROFILE")}
    for name in kept:
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    store = ObjectStore()
    try:
        yield store
    finally:
        store.close()
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
