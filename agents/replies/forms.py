"""Typed replies: pydantic models, read from JSON in whatever wrapping it comes, repaired where that is possible."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import json_repair
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from agents.llm.client import Answer, Unreadable
from agents.replies.fences import blocks_in
from cognition.draft import printable
from cognition.library import LENGTHS, TOPICS

F = TypeVar("F", bound=BaseModel)

_Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=600)]
_LONGEST_JSON = 16_000  # characters that are worth repairing: the repair's time grows with their square
_DEEPEST = 60


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)


class OriginForm(_Form):
    """Where an element of a proposal comes from."""

    element: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=600)]
    source: Literal["paper", "insight", "own"] = "own"
    id: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""


class ProposalHead(_Form):
    """What stands in front of the code of a proposal. All of it may be missing."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = ""
    motivation: str = ""
    changes: list[_Line] = Field(default_factory=list, max_length=12)
    expectation: str = ""
    origins: list[OriginForm] = Field(default_factory=list, max_length=12)
    give_up: str = ""  # an engineer's reason to stop

    @field_validator("origins", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        """What cannot be read of it is left out: a proposal does not fail for its footnotes."""
        if not isinstance(value, list):
            return []
        return [item for item in value[:12] if _fits(OriginForm, item)]

    @field_validator("changes", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Opinion(_Form):
    """The judge's scores of one mixer, 1 to 10 each."""

    reasoning: str = ""
    innovation: float = Field(ge=1, le=10)
    complexity: float = Field(ge=1, le=10)


class ClaimForm(_Form):
    """A statement of the analyst, with the rows that it rests on."""

    statement: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8, max_length=600)]
    against: Literal["parent", "sibling", "baseline"] = "baseline"
    change: str | None = None
    evidence: list[str] = Field(default_factory=list, max_length=32)


class Explanation(_Form):
    """What one result taught."""

    expectation: Literal["met", "missed", "unclear"] = "unclear"
    claims: list[ClaimForm] = Field(max_length=6)


class SynthesisForm(_Form):
    """What many results taught, with the numbers of the insights behind it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8, max_length=4000)]
    works: list[_Line] = Field(default_factory=list, max_length=12)
    worn_out: list[_Line] = Field(default_factory=list, max_length=12)
    cites: list[str] = Field(default_factory=list, max_length=40)


def _in_bounds(text: str, info: ValidationInfo) -> str:
    """As long as the library wants it. Not in the schema: some providers refuse lengths there."""
    least, most = LENGTHS[str(info.field_name)]
    length = len(text if info.field_name == "equation" else " ".join(text.split()))
    if not least <= length <= most:
        raise ValueError(f"has {length} characters, use {least} to {most}")
    if "TODO" in text:
        raise ValueError("says TODO, fill it in")
    return text


_Text = Annotated[str, AfterValidator(_in_bounds)]
OPERATORS = (  # of kernels.dispatch
    *("linear_attn", "retention", "simple_gla", "gla", "delta_rule", "gated_delta_rule", "kda", "dplr_delta_rule"),
    *("causal_conv", "two_scale_fir", "rms_norm_gated", "path_fusion", "fuse_paths", "path_weights", "with_state"),
)


class _PaperText(_Form):
    @field_validator("*", mode="before")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """What cannot be printed counts as spaces: lengths are those of the file that is written."""
        if isinstance(value, str):
            return "\n".join(map(printable, value.splitlines()))
        return [cls._printable(item) for item in value] if isinstance(value, list) else value


class EntryForm(_PaperText):
    """One idea of a paper, as the library keeps it."""

    name: str
    slots: list[Literal["token_mixer", "channel_mixer"]] = Field(min_length=1)
    trigger: _Text
    wordings: list[str] = Field(default_factory=list, max_length=6)
    insight: _Text
    mechanism: _Text
    equation: _Text
    implementation: _Text
    operators: list[str] = Field(default_factory=list)
    cost: _Text
    state: _Text
    failure_modes: _Text

    @field_validator("name")
    @classmethod
    def _as_id(cls, name: str) -> str:
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60]

    @field_validator("operators")
    @classmethod
    def _known(cls, operators: list[str]) -> list[str]:
        return [name for name in operators if name in OPERATORS]


class PaperForm(_PaperText):
    """What a librarian takes out of a paper. Its identifier is not asked for: models make them up."""

    title: Annotated[str, StringConstraints(strip_whitespace=True)]
    year: int
    topic: str = Field(json_schema_extra={"enum": list(TOPICS)})
    entries: list[EntryForm]


def read_form(answer: Answer, form: type[F], *, num_errors: int = 3) -> F:
    """The reply as a form.

    Raises:
        Unreadable: there is no JSON, or it does not fit; the text quotes the first errors.
    """
    value = json_in(answer.text)
    if value is None:
        raise Unreadable(f"there is no JSON object in it; give one object with {_fields(form)}")
    try:
        return form.model_validate(value)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'object'}: {e['msg']}" for e in error.errors()[:num_errors]
        )
        raise Unreadable(f"the JSON object does not fit ({wrong}); it needs {_fields(form)}") from error


def json_in(reply: str) -> dict[str, Any] | None:
    """The first JSON object of a reply: alone, in a fence, or between other words; repaired if need be."""
    texts = [reply.strip(), *(block.text for block in blocks_in(reply) if block.language in ("", "json", "json5"))]
    for text in texts:
        if (value := _strict(text)) is not None:
            return value
    start, end = reply.find("{"), reply.rfind("}")
    loose = reply[start : end + 1 if end > start else len(reply)] if start >= 0 else ""
    for text in (*texts[1:], loose):
        if "{" in text and len(text) <= _LONGEST_JSON and _depth(text) <= _DEEPEST:
            repaired: Any = json_repair.loads(text)
            if isinstance(repaired, list):  # several objects between other words
                repaired = next((item for item in repaired if isinstance(item, dict) and item), None)
            if isinstance(repaired, dict) and repaired:
                return {str(key): item for key, item in repaired.items()}
    return None


def schema_of(form: type[BaseModel]) -> str:
    """The form's JSON schema, for a prompt."""
    return json.dumps(form.model_json_schema(), indent=1)


def _fits(form: type[BaseModel], value: Any) -> bool:
    try:
        form.model_validate(value)
    except ValidationError:
        return False
    return True


def _strict(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _depth(text: str) -> int:
    """How deep brackets are nested, at the most."""
    depth = deepest = 0
    for letter in text:
        if letter in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "}]":
            depth -= 1
    return deepest


def _fields(form: type[BaseModel]) -> str:
    return ", ".join(name for name in form.model_fields)
