"""What every genome is made of: a frozen record of enums, flags and counts, each field with a finite domain."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Gene = StrEnum | int | bool
Domains = Mapping[str, tuple[Gene, ...]]
GenomeT = TypeVar("GenomeT", bound="DataclassInstance")

FLAG = (False, True)


def text_of(value: Gene) -> str:
    """A gene as it reads in `changes`: enum members by value, flags as true and false."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_domains(genome: DataclassInstance, domains: Domains) -> None:
    """Raise ValueError for the first field outside its domain; combinations are the rules' business."""
    for name, domain in domains.items():
        value = getattr(genome, name)
        if not any(value == choice and type(value) is type(choice) for choice in domain):
            raise ValueError(
                f"{type(genome).__name__}.{name} is {value!r}; choose one of {[text_of(choice) for choice in domain]}"
            )
