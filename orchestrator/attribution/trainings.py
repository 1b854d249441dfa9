"""The campaign in which a design and its variants are trained: one stage, nobody proposes anything.

The whole design and its variants are its founders, so that gate, jail, matching of parameters, sealed evaluation,
budget and resuming are those of every campaign, and what it leaves is a run folder like any other.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.config import Settings, compose, settings_from
from orchestrator.errors import UsageError

WHOLE = "whole"


def write_sources(folder: Path, sources: Mapping[str, str]) -> list[str]:
    """One file for each name; their paths, absolute, in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, source in sources.items():
        path = folder / f"{name}.py"
        if not path.exists() or path.read_text(encoding="utf-8") != source:
            path.write_text(source, encoding="utf-8")
        paths.append(str(path.absolute()))
    return paths


def settings_for(
    values: Mapping[str, Any],
    *,
    root: Path,
    name: str,
    founders: Sequence[str],
    stage: str,
    seeds: Sequence[int],
    overrides: Sequence[str] = (),
) -> Settings:
    """Of a campaign that trains `founders` at one stage of the campaign with these values.

    Args:
        values: the other campaign's settings, as its config.yaml has them.
        root: the folder in which the new run folder goes, under `name`.
        founders: paths of source files.
        stage: one of the other campaign's.
        seeds: each founder is trained on all of them.
        overrides: "key=value" with the value in YAML; what the other campaign had is taken otherwise, without limits.

    Raises:
        UsageError: an override that does not parse, or a value that does not fit.
    """
    new: dict[str, Any] = copy.deepcopy(dict(values))
    shipped = compose(["+campaign=linear_attn", "llm=none", "arms=random"])
    new["run"] = {"name": name, "root": str(root), "fresh": False}
    new["campaign"] |= {"founders": list(founders), "anchors": {}, "noise_seeds": 1}
    new["budget"] = {**dict.fromkeys(new["budget"]), "candidates": 0}
    new["scale"] = {**new["scale"], "stages": _only(new["scale"]["stages"], stage, seeds)}
    new["stages"] = {stage: {"pool": new["stages"][stage]["pool"], "stopping": {"policy": "none"}}}
    new["llm"], new["arms"] = shipped["llm"], shipped["arms"]
    new["cognition"] |= {"from_runs": [], "papers": [], "shipped": False}
    new["efficiency"] = {**new.get("efficiency", shipped["efficiency"]), "measure": False}
    for override in overrides:
        _put(new, override)
    return settings_from(new)


def _only(stages: Sequence[Mapping[str, Any]], stage: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One stage as conf/scale has it, where config.yaml has the records' own fields: names as keys, tasks laid open."""
    entry = dict(next(one for one in stages if one["name"] == stage))
    del entry["name"]
    probes = {}
    for probe in entry["probes"]:
        task = dict(probe["task"])
        probes[probe["name"]] = {
            "task": task.pop("kind"),
            **task,
            **{key: value for key, value in probe.items() if key not in ("name", "task")},
        }
    return {stage: {**entry, "probes": probes, "seeds": list(seeds)}}


def _put(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"{override!r} is no key=value: give one as budget.gpu_hours=3")
    *groups, last = key.split(".")
    place: Any = values
    for group in groups:
        place = place.get(group) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UsageError(f"{override!r}: there is no {group!r} in the campaign's settings (config.yaml has them)")
    if not isinstance(place, dict) or last not in place:
        raise UsageError(f"{override!r}: there is no {key!r} in the campaign's settings (config.yaml has them)")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{override!r}: the value is no YAML ({' '.join(str(error).split())[:120]})") from error
