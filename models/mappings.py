"""Plain mappings, as YAML and JSON give them, read key by key with errors that name the place. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


def as_mapping(where: str, value: Any) -> Mapping[str, Any]:
    """The value, which has to be a mapping. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}; give a mapping of names to values")
    return value


def require_keys(where: str, mapping: Mapping[str, Any], required: Set[str], optional: Set[str] = frozenset()) -> None:
    """Every required key is there and no key is unknown. Raises ValueError."""
    if missing := required - set(mapping):
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}: add it")
    if unknown := set(mapping) - required - optional:
        takes = ", ".join(sorted(required | optional))
        raise ValueError(f"{where} has unknown {', '.join(sorted(map(str, unknown)))}; it takes {takes}")


def require_positive(record: object, *names: str) -> None:
    """These attributes are numbers above 0. Raises ValueError."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{type(record).__name__}.{name} is {value!r}; give a number above 0")


def require_counts(record: object, *names: str) -> None:
    """These attributes are whole numbers above 0. Raises ValueError."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{type(record).__name__}.{name} is {value!r}; give a whole number above 0")
