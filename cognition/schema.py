"""Arrow schemas derived from the records, and the way of a record into Arrow columns and back.

One rule for every table: str -> string, int -> int64, float -> double, bool -> bool, StrEnum -> string (its value),
tuple[str, ...] -> list<string>, tuple[float, ...] -> list<double>, tuple of records -> one JSON string,
`| None` -> a nullable column. The round trip is exact, non-finite floats included.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

from cognition.records import RECORDS, Metric, Record

R = TypeVar("R", bound=Record)

TABLES: dict[str, type[Record]] = {record_type.TABLE: record_type for record_type in RECORDS}

REPEATABLE = frozenset({Metric.TABLE})
"""Tables whose keys may come twice: a trial that was cut off and ran again reports its curve again. The last one
counts (view `curves`). Every other table refuses a second record under the same key."""

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_SQL = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table; `encode` and `decode` translate a single value that is not None."""

    name: str
    kind: pa.DataType
    nullable: bool
    default: Any  # dataclasses.MISSING where the record has none
    encode: Callable[[Any], Any] | None = None  # None: Arrow takes the value as it is
    decode: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    columns: tuple[Column, ...]
    schema: pa.Schema
    digest: str


_SHAPES: dict[Any, _Shape] = {}


def _shape_of(record_type: Any) -> _Shape:
    """What a record type's table looks like, worked out once."""
    if record_type not in _SHAPES:
        _SHAPES[record_type] = _derive(record_type)
    return _SHAPES[record_type]


def _derive(record_type: Any) -> _Shape:
    hints = typing.get_type_hints(record_type)
    columns = tuple(_column(field, hints[field.name]) for field in dataclasses.fields(record_type))
    text = ";".join(f"{column.name}:{column.kind}:{column.nullable}" for column in columns)
    return _Shape(
        columns=columns,
        schema=pa.schema([pa.field(column.name, column.kind, nullable=column.nullable) for column in columns]),
        digest=f"{zlib.crc32(text.encode()):08x}",
    )


def columns_of(record_type: type[Record]) -> tuple[Column, ...]:
    """The columns of a record's table, in field order."""
    return _shape_of(record_type).columns


def schema_of(record_type: type[Record]) -> pa.Schema:
    """The Arrow schema of a record's table."""
    return _shape_of(record_type).schema


def digest_of(record_type: type[Record]) -> str:
    """Eight hex digits over column names and types: fragments that share them can be read and merged as one."""
    return _shape_of(record_type).digest


def sql_type(column: Column) -> str:
    """DuckDB's name of the column's type."""
    if pa.types.is_list(column.kind):
        return f"{_SQL[column.kind.value_type]}[]"
    return _SQL[column.kind]


def key_of(record: Record) -> tuple[Any, ...]:
    """The values of the record's KEY."""
    return tuple(getattr(record, name) for name in record.KEY)


def encode(record_type: type[Record], records: Sequence[Record]) -> pa.Table:
    """Records of one type as an Arrow table of N rows.

    Raises:
        ValueError: a value does not fit its column, or is None where the column has no null.
    """
    arrays = []
    for column in columns_of(record_type):
        values = [getattr(record, column.name) for record in records]
        if column.encode is not None:
            values = [None if value is None else column.encode(value) for value in values]
        try:
            array = pa.array(values, type=column.kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{record_type.TABLE}.{column.name} takes {column.kind}: {error}; hand over a value of that type"
            ) from error
        if array.null_count and not column.nullable:
            row = values.index(None)
            raise ValueError(
                f"{record_type.TABLE}.{column.name} is None in {key_of(records[row])}; this column has no null"
            )
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema_of(record_type))


def decode(record_type: type[R], table: pa.Table) -> list[R]:
    """The records of an Arrow table, in row order. A column that an older fragment lacks takes the field's default.

    Raises:
        ValueError: a column without default is missing.
    """
    present = set(table.column_names)
    columns: list[list[Any]] = []
    names: list[str] = []
    for column in _shape_of(record_type).columns:
        if column.name not in present:
            if column.default is dataclasses.MISSING:
                raise ValueError(
                    f"{record_type.TABLE}.{column.name} is missing in a fragment and has no default; "
                    "read it with the version that wrote it"
                )
            continue
        values = table.column(column.name).to_pylist()
        if column.decode is not None:
            values = [None if value is None else column.decode(value) for value in values]
        names.append(column.name)
        columns.append(values)
    return [record_type(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def _column(field: dataclasses.Field[Any], hint: Any) -> Column:
    nullable = False
    if isinstance(hint, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        assert len(members) == 1, f"{field.name}: {hint} is no column type"
        hint, nullable = members[0], True
    assert field.default_factory is dataclasses.MISSING, f"{field.name}: give records plain defaults"
    column = functools.partial(Column, name=field.name, nullable=nullable, default=field.default)
    if hint in _SCALARS:
        return column(kind=_SCALARS[hint])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return column(kind=pa.string(), encode=str, decode=hint)
    assert typing.get_origin(hint) is tuple, f"{field.name}: {hint} is no column type"
    item, ellipsis = typing.get_args(hint)
    assert ellipsis is ..., f"{field.name}: {hint} is no column type"
    if item in _SCALARS:
        return column(kind=pa.list_(_SCALARS[item]), decode=tuple)
    assert dataclasses.is_dataclass(item), f"{field.name}: {hint} is no column type"
    return column(kind=pa.string(), encode=_to_json, decode=functools.partial(_from_json, item))


def _to_json(parts: tuple[Any, ...]) -> str:
    """JSON knows no NaN and no infinity: they become the strings "nan", "inf", "-inf", which SQL casts to DOUBLE."""
    rows = [{field.name: getattr(part, field.name) for field in dataclasses.fields(part)} for part in parts]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                row[name] = str(value)
    return json.dumps(rows, allow_nan=False)


def _from_json(part_type: Any, text: str) -> tuple[Any, ...]:
    hints = typing.get_type_hints(part_type)
    parts = []
    for row in json.loads(text):
        values = {
            name: float(value) if isinstance(value, str) and hints[name] is not str else value
            for name, value in row.items()
            if name in hints
        }
        parts.append(part_type(**values))
    return tuple(parts)
