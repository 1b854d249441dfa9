"""A folder in an object store: one PUT under the final name for each file, no rename, no append, no locks."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import fs

from cognition.folders.folder import joined, with_region

_WIDTH = 16
_CONNECT_S = 3.0
_MOST_TRIES = 3  # of one request; whoever asked waits and tries again


class ObjectFolder:
    """What lies under one prefix of a bucket.

    Not guaranteed: a PUT whose connection was lost may land later, and two writers of one name are not kept apart
    (pyarrow has no conditional PUT): the last one to land wins.
    """

    width = _WIDTH
    path = None

    def __init__(self, filesystem: Any, prefix: str, uri: str) -> None:
        self._filesystem, self._prefix, self._uri = filesystem, prefix.rstrip("/"), uri

    @classmethod
    def at(cls, uri: str) -> ObjectFolder:
        """By a URI that `require_place` lets through."""
        with _reported(uri):
            filesystem, prefix = fs.FileSystem.from_uri(with_region(uri))
            return cls(hardened(filesystem), prefix, uri)

    def __str__(self) -> str:
        return self._uri

    @property
    def place(self) -> str:
        return self._uri

    @property
    def name(self) -> str:
        return self._prefix.rpartition("/")[2]

    def within(self, name: str) -> ObjectFolder:
        return ObjectFolder(self._filesystem, f"{self._prefix}/{name}", str(joined(self._uri, name)))

    def where(self, name: str) -> str:
        return str(joined(self._uri, name))

    def create(self, *folders: str) -> None:
        """There are no folders: names with a common beginning are all there is."""

    def exists(self) -> bool:
        with _reported(self._uri):
            return bool(self._filesystem.get_file_info(self._prefix).type != fs.FileType.NotFound)

    def read(self, name: str) -> bytes:
        with _reported(self.where(name)):
            try:
                with self._filesystem.open_input_file(self._key(name)) as file:
                    return bytes(file.read())
            except OSError as error:
                if self._is_gone(name):
                    raise FileNotFoundError(errno.ENOENT, "removed while it was read") from error
                raise

    def _is_gone(self, name: str) -> bool:
        """Whether a read failed because there is no such object (any more).

        Opening asks for the size and reading for the bytes; of an object that was removed in between, as fragments
        are that have been merged, pyarrow does not say that it is missing.
        """
        with contextlib.suppress(OSError):
            return bool(self._filesystem.get_file_info(self._key(name)).type == fs.FileType.NotFound)
        return False

    def write(self, name: str, data: bytes) -> None:
        with _reported(self.where(name)):
            stream = self._filesystem.open_output_stream(self._key(name))
            stream.write(data)
            stream.close()  # not by `with`, which would close, and so commit, what a failed write has cut short

    def remove(self, name: str) -> None:
        with _reported(self.where(name)), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._key(name))

    def move(self, name: str, to: str) -> bool:
        with _reported(self.where(name)):
            if self._filesystem.get_file_info(self._key(name)).is_file:
                self._filesystem.copy_file(self._key(name), self._key(to))
                self._filesystem.delete_file(self._key(name))
                return True
            return bool(self._filesystem.get_file_info(self._key(to)).is_file)

    def entries(self) -> list[str]:
        return [info.base_name for info in self._listed(recursive=False)]

    def files(self) -> list[str]:
        return [info.path[len(self._prefix) + 1 :] for info in self._listed(recursive=True) if info.is_file]

    def _listed(self, *, recursive: bool) -> list[Any]:
        with _reported(self._uri):
            selector = fs.FileSelector(self._prefix, allow_not_found=True, recursive=recursive)
            return list(self._filesystem.get_file_info(selector))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"


@contextlib.contextmanager
def _reported(where: str) -> Iterator[None]:
    """Whatever pyarrow raises as an OSError with a number, one line of text and the object's place."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such object", where) from error
    except (OSError, pa.ArrowException) as error:
        # Not EIO: that says that the bytes are broken, not that they cannot be had.
        raise OSError(errno.ENOTCONN, " ".join(str(error).split())[:300], where) from error


def hardened(filesystem: Any) -> Any:
    """S3 as it should be here: one request for a small file, and failures that are heard of while they matter.

    A URI cannot say so; pickling gives the options that were made of it.
    """
    if not isinstance(filesystem, fs.S3FileSystem):
        return filesystem
    _, (options,) = filesystem.__reduce__()
    return fs.S3FileSystem(
        **{
            **options,
            "allow_delayed_open": True,
            "connect_timeout": _CONNECT_S,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=_MOST_TRIES),
        }
    )
