"""Tasks for lm-evaluation-harness, in its own format, with data made from a seed: no network, no download."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from models.minimal_pairs.spec import GRAMMARS
from models.minimal_pairs.words import Pair

GROUP = "local"
STANDARD = (
    *("wikitext", "lambada_openai", "piqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "social_iqa"),
    "boolq",
)
"""The tasks that linear-attention papers report, by the harness's names; they are downloaded."""

_VERSION = 1.0
_RECALL, _TEXT = "local_recall", "local_text"
_KEYS = ("red", "blue", "north", "south", "iron", "salt", "wolf", "pine", "lamp", "ship")


def local_names() -> tuple[str, ...]:
    """What the group holds."""
    return (*_phenomena(), _RECALL, _TEXT)


def _phenomena() -> dict[str, Callable[[np.random.Generator], Pair]]:
    """The phenomena of the stages' minimal pairs, each as a task of its own."""
    return {
        f"local_{grammar}_{name}": draw for grammar, phenomena in GRAMMARS.items() for name, draw in phenomena.items()
    }


def write_tasks(folder: Path, num: int = 100, seed: int = 0) -> None:
    """YAML and JSONL of every task and of the group, for `--include_path`; file names are absolute in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _phenomena():
        rows = [_choice(pair, place % 2) for place, pair in enumerate(_pairs(name, num, seed))]
        choices = {"doc_to_text": "", "doc_to_target": "answer", "doc_to_choice": "{{[first, second]}}"}
        _write(folder, name, rows, {"output_type": "multiple_choice", **choices}, ("acc",))
    recall = {"output_type": "loglikelihood", "doc_to_text": "{{context}}", "doc_to_target": "{{target}}"}
    _write(folder, _RECALL, _recall(num, seed), recall, ("acc", "perplexity"))
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
    _write(folder, _TEXT, _text(num, seed), rolling, ("bits_per_byte", "byte_perplexity"))
    group = {"group": GROUP, "task": [*local_names()], "metadata": {"version": _VERSION}}
    _write_yaml(folder / f"{GROUP}.yaml", group)


def _choice(pair: Pair, answer: int) -> dict[str, str | int]:
    """A row whose right text stands at `answer`; it takes turns, since the harness takes the first of ties and NaN."""
    first, second = (pair.bad, pair.good) if answer else (pair.good, pair.bad)
    return {"first": first, "second": second, "answer": answer}


def _recall(num: int, seed: int) -> list[dict[str, str]]:
    """Four pairs of words and numbers; the number of one of them is asked for."""
    rng = random.Random(f"{seed}/recall")
    rows = []
    for _ in range(num):
        keys = rng.sample(_KEYS, 4)
        values = rng.sample(range(10, 100), 4)
        asked = rng.randrange(4)
        told = ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
        rows.append({"context": f"{told}. {keys[asked]}:", "target": f" {values[asked]}"})
    return rows


def _text(num: int, seed: int) -> list[dict[str, str]]:
    """Documents of two right texts of every phenomenon."""
    pairs = [_pairs(name, num, seed + 1) for name in _phenomena()]
    texts = [pair.good.strip() for row in zip(*pairs, strict=True) for pair in row]
    size = 2 * len(pairs)
    return [{"text": "\n".join(texts[start : start + size])} for start in range(0, len(texts), size)]


def _pairs(name: str, num: int, seed: int) -> list[Pair]:
    """So many of a phenomenon; some may be equal where its words are few."""
    place = list(_phenomena()).index(name)
    rng = np.random.default_rng([seed, place])
    return [_phenomena()[name](rng) for _ in range(num)]


def _write(
    folder: Path, name: str, rows: Iterable[Mapping[str, str | int]], told: Mapping[str, Any], metrics: Iterable[str]
) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.absolute())}},
        "test_split": "test",
        "num_fewshot": 0,
        **told,
        "metric_list": [{"metric": metric} for metric in metrics],
        "metadata": {"version": _VERSION},
    }
    _write_yaml(folder / f"{name}.yaml", task)


def _write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
