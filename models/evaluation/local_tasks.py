"""Tasks for lm-evaluation-harness, in its own format, with data made from a seed: no network, no download."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from models.evaluation.minimal_pairs import FAMILIES, minimal_pairs

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
    return (*(f"local_{family}" for family in FAMILIES), _RECALL, _TEXT)


def write_tasks(folder: Path, num: int = 200, seed: int = 0) -> None:
    """YAML and JSONL of every task and of the group, for `--include_path`; file names are absolute in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        rows = [{"good": pair.good, "bad": pair.bad} for pair in minimal_pairs(family, num, seed)]
        choices = {"doc_to_text": "", "doc_to_target": 0, "doc_to_choice": "{{[good, bad]}}"}
        _write(folder, f"local_{family}", rows, {"output_type": "multiple_choice", **choices}, ("acc",))
    recall = {"output_type": "loglikelihood", "doc_to_text": "{{context}}", "doc_to_target": "{{target}}"}
    _write(folder, _RECALL, _recall(num, seed), recall, ("acc", "perplexity"))
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
    _write(folder, _TEXT, _text(num, seed), rolling, ("bits_per_byte", "byte_perplexity"))
    group = {"group": GROUP, "task": [*local_names()], "metadata": {"version": _VERSION}}
    _write_yaml(folder / f"{GROUP}.yaml", group)


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
    """Documents of five right texts of every family."""
    pairs = [minimal_pairs(family, num, seed + 1) for family in FAMILIES]
    texts = [pair.good.strip() for row in zip(*pairs, strict=True) for pair in row]
    size = 5 * len(FAMILIES)
    return [{"text": "\n".join(texts[start : start + size])} for start in range(0, len(texts), size)]


def _write(
    folder: Path, name: str, rows: Iterable[Mapping[str, str]], told: Mapping[str, Any], metrics: Iterable[str]
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
