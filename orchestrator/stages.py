"""How the stages of a scale are run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The pool of a stage's trials."""

    pool: str = "explore"
