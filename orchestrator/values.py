"""Plain values, as YAML has them, into the records of the configuration and back."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Record = TypeVar("Record")


def read_record(kind: type[Record], values: Any, where: str) -> Record:
    """One dataclass from a mapping; unknown keys and wrong types are named with their place."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}: a group of keys is needed")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise ValueError(f"unknown key {where}.{key}{suggest(str(key), hints)}")
    converted = {key: convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    missing = [
        item.name
        for item in dataclasses.fields(kind)  # type: ignore[arg-type]  # kind is a dataclass
        if item.name not in converted
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}: set {where}.{missing[0]}=...")
    return kind(**converted)


def convert(hint: Any, value: Any, where: str) -> Any:
    """One value as the annotation wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return convert(str if isinstance(value, str) and str in kinds else kinds[0], value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{where} is {value!r}: a list is needed, as [a,b]")
        return tuple(convert(arguments[0], item, where) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {value!r}: a group of keys is needed")
        return {str(key): _entry(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_record(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} is {value!r}: {_NAMES.get(hint, hint)} is needed")
    return value


def _entry(hint: Any, value: Any, where: str) -> Any:
    """One of a group whose names are the user's: a record does not know which one it is."""
    try:
        return convert(hint, value, where)
    except ValueError as error:
        told = str(error)
        raise ValueError(told if where in told else f"{where}.{told}") from error


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def suggest(name: str, known: Mapping[str, Any]) -> str:
    """The end of a message on an unknown name."""
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"


def plain(settings: Any) -> Any:
    """Settings as plain values (dicts, lists, scalars), for config.yaml and for comparing."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {item.name: plain(getattr(settings, item.name)) for item in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(key): plain(value) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [plain(value) for value in settings]
    return settings
