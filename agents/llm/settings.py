"""What a campaign is told about language models. Plain values; nothing here imports LiteLLM."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ROLES = ("researcher", "engineer", "judge", "analyst", "summary", "librarian")
FORMATS = ("auto", "schema", "tool", "text")
CHOICES = ("bandit", "weights")
MODES = ("refine", "combine", "simplify", "explore", "repair")


def _positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}: use a number above zero, or null where none is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cached: float | None = None  # input read from the provider's cache; None: as other input

    def __post_init__(self) -> None:
        for name, value in (("input", self.input), ("output", self.output), ("cached", self.cached)):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"price.{name} is {value}: use US dollars per million tokens, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model as LiteLLM names it, how fast it may be asked, and what it costs."""

    model: str
    api_base: str | None = None  # an OpenAI-compatible server; a loopback one costs nothing
    price: Price | None = None  # null: LiteLLM's list
    concurrency: int = 8  # calls at once, of the whole campaign
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 300.0
    structured: str = "auto"  # how typed replies are asked for: schema (response_format), tool, text
    temperature: bool = True  # false: never sent, for models that take none

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("a model has no name: set model=PROVIDER/NAME as LiteLLM writes it")
        if self.concurrency < 1:
            raise ValueError(f"concurrency of {self.model} is {self.concurrency}: use 1 or more")
        if self.structured not in FORMATS:
            raise ValueError(f"structured of {self.model} is {self.structured!r}: use one of {', '.join(FORMATS)}")
        for name in ("requests_per_minute", "tokens_per_minute", "timeout_s"):
            _positive(f"{name} of {self.model}", getattr(self, name))

    @property
    def loopback(self) -> bool:
        """It runs on this machine."""
        return is_loopback(self.api_base)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSettings:
    """Which models play a role, and how they are asked. Without models the role is played by what is built in."""

    models: Mapping[str, float] = field(default_factory=dict)  # names of llm.models -> weight
    choice: str = "bandit"  # or "weights": fixed shares
    temperature: float = 1.0
    max_input_tokens: int = 24_000  # prompts are trimmed to it, by priority
    max_output_tokens: int = 8_000

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise ValueError(f"choice is {self.choice!r}: use one of {', '.join(CHOICES)}")
        for name, weight in self.models.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of model {name} is {weight}: use 0 or more")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature is {self.temperature}: use a number from 0 to 2")
        for name in ("max_input_tokens", "max_output_tokens"):
            if getattr(self, name) < 256:
                raise ValueError(f"{name} is {getattr(self, name)}: use 256 or more")

    @property
    def played(self) -> bool:
        return any(weight > 0 for weight in self.models.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a call is made again, and how long it waits: `base_s` doubled each time, with jitter."""

    num: int = 4
    base_s: float = 1.0
    most_s: float = 60.0  # no single wait is longer; a longer Retry-After goes to the next model at once

    def __post_init__(self) -> None:
        if self.num < 0:
            raise ValueError(f"llm.retries.num is {self.num}: use 0 or more")
        _positive("llm.retries.base_s", self.base_s)
        _positive("llm.retries.most_s", self.most_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BanditSettings:
    """How models are chosen by what their work was worth (agents.bandit)."""

    cost_weight: float = 0.25  # how much the dearest model's cost takes off its reward
    explore: float = 0.1  # share of choices that ignores what was learned

    def __post_init__(self) -> None:
        if not 0 <= self.cost_weight < math.inf:
            raise ValueError(f"llm.bandit.cost_weight is {self.cost_weight}: use 0 or more")
        if not 0 <= self.explore <= 1:
            raise ValueError(f"llm.bandit.explore is {self.explore}: use a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSettings:
    """The model that turns texts into vectors for retrieval. None: what is built in, which needs no model."""

    model: str | None = None  # as LiteLLM names it
    api_base: str | None = None  # an OpenAI-compatible server; a loopback one costs nothing
    price: Price | None = None  # null: LiteLLM's list
    num_texts: int = 64  # of one call, at the most
    concurrency: int = 4
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.model == "":
            raise ValueError("llm.embedding.model is empty: use PROVIDER/NAME as LiteLLM writes it, or null")
        if not 1 <= self.num_texts <= 2048:
            raise ValueError(f"llm.embedding.num_texts is {self.num_texts}: use 1 to 2048")
        if self.concurrency < 1:
            raise ValueError(f"llm.embedding.concurrency is {self.concurrency}: use 1 or more")
        _positive("llm.embedding.timeout_s", self.timeout_s)

    @property
    def as_model(self) -> ModelSettings | None:
        """The same as a model to be called; None where none is."""
        if self.model is None:
            return None
        return ModelSettings(
            model=self.model,
            api_base=self.api_base,
            price=self.price,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings:
    """Everything about language models. `models` empty: there is none, and every role is built in."""

    name: str
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    roles: Mapping[str, RoleSettings] = field(default_factory=dict)
    unknown_price: str = "error"  # or "waive": a model whose price nobody knows counts as free
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    transcript: str | None = None  # a run folder: its recorded replies stand in for all models
    retries: Retries = field(default_factory=Retries)
    patience: int = 8  # so many numbers in a row without a proposal: the campaign stops and says so
    max_corrections: int = 1  # how often a reply that cannot be read is complained about
    bandit: BanditSettings = field(default_factory=BanditSettings)
    modes: Mapping[str, float] = field(
        default_factory=lambda: {"refine": 5.0, "combine": 2.0, "simplify": 1.0, "explore": 1.0, "repair": 1.0}
    )
    stagnation: int = 12  # so many candidates without a better one: half of the proposals explore
    synthesis_every: int = 8  # candidates between two syntheses; 0: none
    judge_samples: int = 3
    calibration: tuple[str, ...] = ("baselines", "discoveries")  # what the judge scores first
    recalibrate_every: int = 50  # verdicts between two calibrations of the judge; 0: only the first

    def __post_init__(self) -> None:
        for role, settings in self.roles.items():
            if role not in ROLES:
                raise ValueError(f"llm.roles has {role!r}: known roles are {', '.join(ROLES)}")
            for name in settings.models:
                if name not in self.models:
                    known = ", ".join(self.models) or "none"
                    raise ValueError(f"llm.roles.{role}.models has {name!r}, which is not in llm.models ({known})")
        names = [model.model for model in self.models.values()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"llm.models has {', '.join(sorted(twice))} twice: rows tell models apart by that name")
        if self.unknown_price not in ("error", "waive"):
            raise ValueError(f"llm.unknown_price is {self.unknown_price!r}: use error or waive")
        for mode, weight in self.modes.items():
            if mode not in MODES or not 0 <= weight < math.inf:
                raise ValueError(f"llm.modes.{mode} is {weight}: modes are {', '.join(MODES)}, weights 0 or more")
        if not sum(self.modes.values()) > 0:
            raise ValueError("llm.modes are all zero: give one of them a weight")
        for name, value, least in (
            ("max_corrections", self.max_corrections, 0),
            ("stagnation", self.stagnation, 1),
            ("patience", self.patience, 1),
            ("synthesis_every", self.synthesis_every, 0),
            ("judge_samples", self.judge_samples, 1),
            ("recalibrate_every", self.recalibrate_every, 0),
        ):
            if value < least:
                raise ValueError(f"llm.{name} is {value}: use {least} or more")

    @property
    def every_model(self) -> tuple[ModelSettings, ...]:
        """Those that play roles, and the one that embeds."""
        embedding = self.embedding.as_model
        return (*self.models.values(), *(() if embedding is None else (embedding,)))

    def role(self, role: str) -> RoleSettings:
        return self.roles.get(role, RoleSettings())

    def plays(self, role: str) -> bool:
        """Whether a model, live or recorded, plays the role."""
        return self.role(role).played


def is_loopback(address: str | None) -> bool:
    """Whether an http address is on this machine."""
    host = urlsplit(address or "").hostname
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
