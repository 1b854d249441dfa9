"""Rows of a Hugging Face dataset, streamed. The only place that knows the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from models.data.sources import Position, missing_column, text_of
from models.data.spec import HUB, DataSpec


class HubDocuments:
    """Documents of a streamed dataset; a position is the state that the library gives for resuming."""

    def __init__(self, spec: DataSpec, position: Position = None) -> None:
        self._spec = spec
        self._row = 0
        with _explained(spec):
            self._dataset = open_dataset(spec)
        with _explained(spec):
            if (known := self._dataset.column_names) is not None and spec.column not in known:
                raise missing_column(spec.column, known, spec.source)
            if position is not None:
                self._dataset.load_state_dict(position)
            self._rows = iter(self._dataset)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        text = b""
        while not text:
            with _explained(self._spec):
                row = next(self._rows, None)
            if row is None:
                raise StopIteration
            self._row += 1
            text = text_of(row, self._spec.column, f"{self._spec.source}, row {self._row}")
        return text

    def position(self) -> Position:
        return self._dataset.state_dict()


def open_dataset(spec: DataSpec) -> Any:
    """The dataset as a stream of rows; local files too, by source="hf:parquet" or "hf:json" and `data_files`."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"data.source {spec.source!r} needs the package datasets, which is not installed: pip install datasets"
        ) from error
    try:
        return datasets.load_dataset(
            spec.source.removeprefix(HUB),
            spec.config,
            split=spec.split,
            data_files=spec.data_files,
            revision=spec.revision,
            streaming=True,
        )
    except ValueError as error:  # it knows the dataset, and not this part of it
        raise ValueError(
            f"data.source {spec.source!r}: {_first_line(error)}: mend data.config, data.split or data.revision"
        ) from error


@contextmanager
def _explained(spec: DataSpec) -> Iterator[None]:
    """What the library raises, as the user's error with a remedy."""
    import httpx
    from datasets.exceptions import DatasetsError

    named = spec.source + (f" ({spec.config})" if spec.config else "")
    try:
        yield
    except (OSError, httpx.HTTPError, DatasetsError, StopIteration) as error:
        raise ValueError(
            f"data.source {named} cannot be read ({_first_line(error)}): check the name and the network (a mirror: "
            "HF_ENDPOINT; a gated dataset: HF_TOKEN), or download its Parquet files and set data.source to their "
            "folder. What was packed is kept: the same command goes on from there"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
