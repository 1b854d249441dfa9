"""Which language models a campaign has: their keys, and those of a recorded campaign. Choosing: agents.llm.choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from agents.llm.found import missing_key
from agents.llm.settings import EmbeddingSettings, LlmSettings, ModelSettings, Price
from cognition.reader import Reader
from cognition.records import LlmCall
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder
from orchestrator.values import read_record

RECORDED = "recorded"  # the one model of a campaign that plays a transcript


def require_keys(settings: LlmSettings, environment: Mapping[str, str]) -> None:
    """Raise ValueError where a model's provider wants a key that is not there: it would refuse every call."""
    for model in settings.models.values():
        variable = missing_key(model, environment)
        if variable is not None:
            raise ValueError(
                f"{model.model} needs {variable} in the environment: set it, or choose others with llm=..., or none "
                "with llm=none"
            )


def recorded(settings: LlmSettings) -> LlmSettings:
    """Where a transcript is named: the recorded campaign's settings, with the recording as every role's model.

    Raises:
        ValueError: there is no campaign in that folder, or it recorded no model.
    """
    if settings.transcript is None:
        return settings
    values = RunFolder.existing(settings.transcript).settings().get("llm")
    if not isinstance(values, dict):
        raise ValueError(f"llm.transcript: {settings.transcript} was made without language models, nothing is recorded")
    old = read_record(LlmSettings, values, "llm")
    roles = {
        role: dataclasses.replace(known, models={RECORDED: 1.0} if known.played else {})
        for role, known in old.roles.items()
    }
    model = ModelSettings(model=RECORDED, price=Price(input=0.0, output=0.0, cached=0.0), concurrency=64)
    return dataclasses.replace(
        old,
        name="transcript",
        models={RECORDED: model},
        roles=roles,
        embedding=EmbeddingSettings(),  # a replay asks nobody: the local embedder stands in
        transcript=settings.transcript,
    )


def recording_of(settings: LlmSettings) -> tuple[LlmCall, ...]:
    """The recorded calls; none without a transcript.

    Raises:
        UsageError: the recording cannot be read.
    """
    if settings.transcript is None:
        return ()
    try:
        return tuple(Reader(settings.transcript).rows(LlmCall))
    except (ValueError, OSError) as error:
        raise UsageError(f"llm.transcript={settings.transcript} cannot be read: {error}") from error
