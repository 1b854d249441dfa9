"""How well novelty tells the same from the different, on labelled pairs of designs and of motivations.

    python -m benchmarks.novelty_pairs [--results benchmarks/results]

Prints a sweep of each threshold on the pairs that set them ("tune") and precision and recall on the others ("test"),
by measure and by kind. The pairs are in tests/novelty. Candidate code runs in this process: the pairs are ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.novelty import NoveltySettings
from models import fla_standin
from tests.novelty import calibration, motivations
from tests.novelty.calibration import HEADER, Figures, Measured, by_behaviour, by_structure, combined, figures
from tests.novelty.pairs import num_bases, pairs

BEHAVIOUR_SWEEP = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
STRUCTURE_SWEEP = (0.001, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
MOTIVATION_SWEEP = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)


def plain(found: Figures) -> dict[str, float | int | None]:
    """Figures for JSON."""
    return {
        "pairs": found.num_pairs,
        "same": found.num_same,
        "found": found.num_found,
        "precision": found.precision,
        "recall": found.recall,
    }


def by_kind(items: Sequence[Measured]) -> dict[str, Any]:
    """All measures together, for each kind."""
    kinds = sorted({item.pair.kind for item in items})
    return {kind: plain(figures([i for i in items if i.pair.kind == kind], combined)) for kind in kinds}


def sweep(
    title: str, thresholds: Sequence[float], at: Callable[[float], Figures]
) -> Mapping[str, Mapping[str, float | int | None]]:
    """Print and hand on what each threshold would get right."""
    print(f"\n{title}, on tune\n{HEADER}")
    rows = {}
    for threshold in thresholds:
        found = at(threshold)
        print(f"{threshold:<34g}{found}")
        rows[f"{threshold:g}"] = plain(found)
    return rows


def designs() -> dict[str, Any]:
    """Calibrate behaviour and structure."""
    began = time.perf_counter()
    items = [calibration.measured(pair) for pair in pairs()]
    took = time.perf_counter() - began
    tune, test = ([item for item in items if item.pair.split == split] for split in ("tune", "test"))
    result: dict[str, Any] = {
        "num_pairs": len(items),
        "num_bases": num_bases(),
        "seconds": round(took, 1),
        "thresholds": {
            "same_behaviour": NoveltySettings().same_behaviour,
            "same_structure": NoveltySettings().same_structure,
        },
        "behaviour_sweep": sweep(
            "behaviour alone below", BEHAVIOUR_SWEEP, lambda at: figures(tune, lambda item: by_behaviour(item, at))
        ),
        "structure_sweep": sweep(
            "all together, structure below",
            STRUCTURE_SWEEP,
            lambda at: figures(
                tune, lambda item: combined(item, NoveltySettings(same_structure=at, doubtful_structure=max(at, 0.15)))
            ),
        ),
        "structure_alone_sweep": sweep(
            "structure alone below", STRUCTURE_SWEEP, lambda at: figures(tune, lambda item: by_structure(item, at))
        ),
    }
    for name, chosen in (("tune", tune), ("test", test), ("all", items)):
        print(f"\ndesigns, {name}\n{calibration.table(chosen)}")
        result[name] = {way: plain(figures(chosen, decides)) for way, decides in calibration.WAYS.items()}
        result[name]["by_kind"] = by_kind(chosen)
    result["mistakes"] = list(calibration.mistakes(items))
    print("\n" + ("\n".join(result["mistakes"]) or "no mistakes"))
    return result


def ideas() -> dict[str, Any]:
    """Calibrate motivations."""
    tune, test = motivations.scored("tune"), motivations.scored("test")
    settings = NoveltySettings()
    ways: Mapping[str, Callable[[motivations.Scored], bool]] = {
        "cosine alone": lambda item: motivations.alike(item, settings.same_motivation),
        "same words": lambda item: motivations.refused(item, settings),
    }
    result: dict[str, Any] = {
        "threshold": settings.same_motivation,
        "sweep": sweep(
            "motivation by cosine alone, from",
            MOTIVATION_SWEEP,
            lambda at: motivations.figures(tune, lambda item: motivations.alike(item, at)),
        ),
        "same_words_sweep": sweep(
            "motivation in the same words, from",
            MOTIVATION_SWEEP,
            lambda at: motivations.figures(tune, lambda item: item.same_words and motivations.alike(item, at)),
        ),
    }
    for way, decides in ways.items():
        print(f"\nmotivations from {settings.same_motivation:g}, {way}\n{HEADER}")
        rows = {"tune": tune, "test": test, "all": [*tune, *test]}
        for kind in motivations.KINDS:
            for split, chosen in (("tune", tune), ("test", test)):
                rows[f"kind {kind}, {split}"] = [item for item in chosen if item.kind == kind]
        found = {name: motivations.figures(chosen, decides) for name, chosen in rows.items()}
        for name, row in found.items():
            print(f"{name:<34}{row}")
        result[way] = {name: plain(row) for name, row in found.items()}
    return result


def main() -> int:
    """Calibrate and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="a folder for novelty_pairs.json; without it: prints only")
    parser.add_argument("--json", type=Path, help="a file for the bare figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fla_standin.install("cpu")
    found = {"designs": designs(), "motivations": ideas()}
    if options.results is not None:
        write_result("novelty_pairs", found, options.results)
    if options.json is not None:
        options.json.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
