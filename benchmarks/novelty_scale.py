"""What a novelty check costs when a campaign has tried 100,000 candidates, beside the plain ways to do it.

    python -m benchmarks.novelty_scale [--candidates 100000] [--results benchmarks/results]

The check is all that a campaign asks of the index for one candidate: its motivation embedded and compared, its
fingerprint and its structure compared, the decision. The plain ways are a loop over a dict with three distances for
each candidate, and the matrix built anew from a dict at every call, of fingerprints alone, as campaigns did before.
Vectors are drawn; motivations of the question are embedded for real, those in the index are not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from cognition.embedding import HashedNgrams, Vectors
from cognition.novelty import NoveltySettings, Tried, decide, nearest
from cognition.records import Candidate, Report, ReportKind

FINGERPRINT, STRUCTURE, MOTIVATION = 88, 128, 256
_DRAWN = "drawn for the index, which is asked and not read:"
GOAL_MS = 50.0


class Drawn:
    """Draws vectors for the texts of the index and embeds the others."""

    name = "drawn"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(5)
        self._real = HashedNgrams()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[N] texts -> [N, 256]."""
        if not all(text.startswith(_DRAWN) for text in texts):
            return self._real.embed(texts)
        vectors = self._rng.standard_normal((len(texts), MOTIVATION), dtype=np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def candidate(number: int, motivation: str) -> Candidate:
    """A written candidate; its source does not matter here."""
    return Candidate(
        candidate_id=f"{number:016x}",
        number=number,
        arm="llm",
        slot="token_mixer",
        name=f"design {number}",
        motivation=motivation,
        source="",
        mode="refine",
    )


def report(number: int, rng: np.random.Generator) -> Report:
    """What the gate hands over."""
    return Report(
        candidate_id=f"{number:016x}",
        number=number,
        attempt=0,
        kind=ReportKind.passed,
        fingerprint=tuple(rng.standard_normal(FINGERPRINT).tolist()),
        structure=tuple(np.abs(rng.standard_normal(STRUCTURE)).tolist()),
        layout=str(number % 50),
        num_parameters=100_000 + number % 7,
        flops_per_token=1e6,
        state_bytes=4096,
    )


def milliseconds(work: Callable[[], object], num: int) -> Sequence[float]:
    """Wall time of each call."""
    found = []
    for _ in range(num):
        began = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - began))
    return found


def shown(times: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {
        "median_ms": round(statistics.median(times), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "num_calls": len(times),
    }


def by_loop(question: Report, vector: Vectors, reports: Sequence[Report], vectors: Vectors) -> tuple[int, int, int]:
    """The nearest by each measure, one candidate after the other, vectors ready as arrays."""
    point, shape = np.asarray(question.fingerprint), np.asarray(question.structure)
    best = [(np.inf, -1)] * 3
    for place, known in enumerate(reports):
        found = (
            float(np.linalg.norm(np.asarray(known.fingerprint) - point)),
            float(np.linalg.norm(np.asarray(known.structure) - shape)),
            1.0 - float(vectors[place] @ vector),
        )
        best = [min(old, (new, place)) for old, new in zip(best, found, strict=True)]
    return best[0][1], best[1][1], best[2][1]


def main() -> int:
    """Fill, ask, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--results", type=Path, help="a folder for novelty_scale.json; without it: prints only")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    reports = [report(number, rng) for number in range(options.candidates)]
    candidates = [candidate(number, f"{_DRAWN} {number}") for number in range(options.candidates)]
    tried = Tried(Drawn())
    appended = []
    for idea, design in zip(candidates, reports, strict=True):
        began = time.perf_counter()
        tried.add(idea)
        tried.add(design)
        appended.append(1e6 * (time.perf_counter() - began))
    idea = candidate(
        options.candidates,
        "Every key channel forgets at a rate that the token sets, through a low-rank projection, to clear what a "
        "document left behind; heads that find nothing fall silent by a gate on what they retrieved.",
    )
    questions = iter([report(options.candidates + place, rng) for place in range(2 * options.calls)])

    def check(horizon: int | None = None) -> object:
        stated = tried.by_motivation(idea, horizon)
        found = tried.by_design(next(questions), horizon)
        return decide(replace(found, motivation=stated.motivation, restated=stated.restated), NoveltySettings())

    figures: dict[str, object] = {
        "num_candidates": options.candidates,
        "goal_ms": GOAL_MS,
        "check": shown(milliseconds(check, options.calls)),
        "check_with_horizon": shown(milliseconds(lambda: check(options.candidates - 6), options.calls)),
        "motivation_alone": shown(milliseconds(lambda: tried.by_motivation(idea), options.calls)),
        "append_us": {
            "mean": round(statistics.fmean(appended), 1),
            "median": round(statistics.median(appended), 1),
            "largest": round(max(appended), 1),
        },
        "index_megabytes": round(tried.num_bytes / 2**20, 1),
    }
    question = report(options.candidates, rng)
    known = {item.candidate_id: item.fingerprint for item in reports}
    figures["matrix_built_anew"] = shown(milliseconds(lambda: nearest(question.fingerprint, known), 3))
    vectors = Drawn().embed([_DRAWN] * options.candidates)
    vector = HashedNgrams().embed([idea.motivation])[0]
    figures["loop"] = shown(milliseconds(lambda: by_loop(question, vector, reports, vectors), 1))
    for name, value in figures.items():
        print(f"{name:<22}{value}")
    if options.results is not None:
        write_result("novelty_scale", figures, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
