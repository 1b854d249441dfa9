"""torch.compile as the identity, where its compilers are out of reach: no disk to read, no threads to start.

What fla-style modules compile are small helpers; without compiling they compute the same, more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def skip_compilation() -> None:
    """Make torch.compile hand back what it is given, as a call, as @torch.compile and as @torch.compile(...).

    Module.compile and torch.compiler.compile go through it. torch.compiler.disable and the like stay: they compile
    nothing. Not meant for processes of the host.
    """
    torch.compile = _handed_back


@contextmanager
def compilation_skipped() -> Iterator[None]:
    """`skip_compilation`, undone at the end."""
    before = torch.compile
    skip_compilation()
    try:
        yield
    finally:
        torch.compile = before


def _handed_back(model: Callable[..., Any] | None = None, **options: Any) -> Any:
    """What is given; with options alone, a decorator that hands back what it decorates."""
    return (lambda decorated: decorated) if model is None else model
