"""The lineage and the cognition base of a large campaign: the leaderboard, and insights by relevance.

    python -m benchmarks.cognition_scale      # several minutes; writes benchmarks/results/cognition_scale.json

A store is filled through `cognition.store.Store` in a thousand commits that are merged as in a campaign: 100,000
candidates, each with report, trial and verdict, one insight on a new subject and one on an earlier one, a claim for
every fiftieth, 1,000,000 points of curves. The leaderboard is asked for as `python -m cognition sql` does: by a new
reader (cold: every fragment's bytes are checked), again by the same reader (warm), and after another commit (changed).
Beside it the naive way: all rows as records in Python, joined and sorted.

`Memory` then holds what is live of the insights, texts in words of the shipped library, and is asked with the queries
of benchmarks/retrieval_queries.yaml; the shipped library alone is asked with the same. Beside it the naive way: vectors
and BM25 of every document made anew for each query, and what it takes to make an index of bm25s anew.

Medians; beside them the least and the processor time, which say more where others use the machine. Absolute times
belong to the machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import RESULTS, write_result
from benchmarks.store import outcomes
from cognition.documents import documents_of
from cognition.embedding import HashedNgrams
from cognition.insights import subject_for, with_pool
from cognition.library import load_library
from cognition.manifest import read_manifest
from cognition.memory import Memory
from cognition.reader import Reader
from cognition.records import Candidate, Claim, Insight, Metric, Record, Report, Trial, Verdict
from cognition.retrieval import Index
from cognition.store import LINEAGE, Store
from cognition.words import terms_of

ROOT = Path(__file__).resolve().parents[1]
QUERIES = Path(__file__).with_name("retrieval_queries.yaml")
TOP = "SELECT * FROM leaderboard LIMIT 20"
WHOLE = "SELECT * FROM leaderboard"
GOALS_MS = {"leaderboard": 100.0, "retrieval": 50.0}
NUM = 5  # insights that a search asks for
_POINTS = 10  # of a curve
_CLAIMED = 50  # every fiftieth candidate is verified
_UNREPLICATED = 20_000  # subjects that wait for a second insight
_OTHER_SLOT = 5  # every fifth insight is on the other slot


class Words:
    """Texts in the library's words, as often as it uses them."""

    def __init__(self, rng: random.Random) -> None:
        library = load_library()
        documents = documents_of(library.entries.values(), library.papers)
        self._words = [word for document in documents for word in re.findall(r"[a-z]{2,}", document.text.lower())]
        self._rng = rng

    def some(self, low: int, high: int) -> str:
        """Between `low` and `high` words."""
        return " ".join(self._rng.choices(self._words, k=self._rng.randint(low, high)))


def insights_of(candidate: Candidate, words: Words, rng: random.Random, past: list[Insight]) -> list[Insight]:
    """Measured insights of a candidate: the first on a new subject, the second on the subject of an earlier one.

    `past` holds those that nothing replicates yet; there is no second one before there are many of them.
    """
    number = candidate.number
    slot = "channel_mixer" if number % _OTHER_SLOT == 0 else "token_mixer"
    made = []
    replicated = [past.pop(rng.randrange(len(past)))] if len(past) >= _UNREPLICATED else []
    for place, earlier in enumerate([None, *replicated]):
        change = f"{words.some(1, 3)} {number}: {words.some(1, 2)} -> {words.some(1, 2)}"
        if earlier is not None and earlier.change is not None:
            change, slot = earlier.change, earlier.slot
        effect, width = rng.gauss(0, 0.04), rng.uniform(0.01, 0.06)
        low, high = effect - width, effect + width
        finding = "lowers the loss" if high < 0 else "raises the loss" if low > 0 else "shows no difference"
        insight = Insight(
            insight_id=f"i-{number}-{place}",
            candidate_id=candidate.candidate_id,
            number=number,
            claim=f"'{change}' {finding} against the parent mixer-{number // 2}: {effect:+.4f} nats per token "
            f"[{low:+.4f}, {high:+.4f}]; {words.some(5, 15)}",
            slot=slot,
            stage="explore",
            against="parent",
            against_id="0" * 16,
            change=change,
            effect=effect,
            low=low,
            high=high,
            evidence=(f"{candidate.candidate_id}-explore-s0",),
            scale="cpu",
            subject=subject_for(slot, "cpu", "explore", change),
        )
        insight = with_pool(insight, () if earlier is None else (earlier,))
        if place == 0:
            past.append(insight)
        made.append(insight)
    return made


def groups_of(num: int, commits: int, rng: random.Random) -> Iterator[list[Record]]:
    """What a campaign of `num` candidates writes, in `commits` groups."""
    words, past = Words(rng), list[Insight]()
    size = max(1, num // commits)
    for first in range(0, num, size):
        group = outcomes(4 * min(size, num - first), rng, first=first)
        for candidate in [record for record in group if isinstance(record, Candidate)]:
            number, trial_id = candidate.number, f"{candidate.candidate_id}-explore-s0"
            group += [
                Metric(
                    trial_id=trial_id,
                    task="text",
                    step=10 * step,
                    loss=2 + 3 / (1 + step) + rng.random() / 10,
                    grad_norm=rng.random(),
                    learning_rate=1e-3,
                    tokens=20_480 * step,
                    elapsed_s=1.5 * step,
                )
                for step in range(_POINTS)
            ]
            group += insights_of(candidate, words, rng, past)
            if number % _CLAIMED == 0:
                group.append(_claim(candidate, rng))
        yield group


def _claim(candidate: Candidate, rng: random.Random) -> Claim:
    difference = rng.gauss(-0.02, 0.03)
    return Claim(
        candidate_id=candidate.candidate_id,
        baseline_id="0" * 16,
        stage="verify",
        split="heldout",
        num_seeds=3,
        mean_loss=2.3 + difference,
        std_loss=0.01,
        baseline_mean_loss=2.3,
        baseline_std_loss=0.01,
        difference=difference,
        low=difference - 0.02,
        high=difference + 0.02,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What something took, in milliseconds."""

    wall: float
    cpu: float  # of this process, all threads


def timed(ask: Callable[[], Any]) -> Taken:
    """Do it once."""
    began, used = time.perf_counter(), time.process_time()
    ask()
    return Taken(wall=1000 * (time.perf_counter() - began), cpu=1000 * (time.process_time() - used))


def spread(taken: Sequence[Taken]) -> dict[str, float]:
    """Median, the 95th percentile, the least and the most; the median of the processor time."""
    ordered = sorted(one.wall for one in taken)
    return {
        "median_ms": statistics.median(ordered),
        "p95_ms": ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)],
        "least_ms": ordered[0],
        "most_ms": ordered[-1],
        "cpu_ms": statistics.median(one.cpu for one in taken),
        "num": len(ordered),
    }


def fill(folder: Path, num: int, commits: int, seed: int) -> dict[str, Any]:
    """Write the campaign; what is in the store then, and how long it took."""
    began = time.perf_counter()
    appending = 0.0
    with Store.open(folder) as store:
        for group in groups_of(num, commits, random.Random(seed)):
            appending += timed(lambda group=group: store.append(*group)).wall / 1000
    tables = read_manifest(folder / LINEAGE).tables
    return {
        "rows": {table: sum(fragment.rows for fragment in fragments) for table, fragments in tables.items()},
        "num_fragments": sum(len(fragments) for fragments in tables.values()),
        "size_mb": sum(fragment.size_bytes for fragments in tables.values() for fragment in fragments) / 1e6,
        "fill_s": time.perf_counter() - began,
        "append_s": appending,
    }


def measure_leaderboard(folder: Path, repeats: int, seed: int) -> dict[str, Any]:
    """Milliseconds of the leaderboard by way, and of the naive way."""
    num = read_manifest(folder / LINEAGE).next_fragment  # a folder that is kept has those of the runs before
    extra = outcomes(4 * repeats * 2, random.Random(f"{seed} {num}"), first=10_000_000 + num)
    store = Store.open(folder)
    figures: dict[str, Any] = {}
    for name, sql in (("top", TOP), ("whole", WHOLE)):
        figures[f"{name}_cold"] = spread([timed(lambda sql=sql: Reader(folder).query(sql)) for _ in range(repeats)])
        reader = Reader(folder)
        reader.query(sql)
        asked = [timed(lambda sql=sql, reader=reader: reader.query(sql)) for _ in range(4 * repeats)]
        figures[f"{name}_warm"] = spread(asked)
        changed = []
        for _ in range(repeats):
            store.append(*[extra.pop() for _ in range(4)])
            changed.append(timed(lambda sql=sql, reader=reader: reader.query(sql)))
        figures[f"{name}_changed"] = spread(changed)
        with Reader(folder).connect() as connection:
            connection.execute(sql).fetchall()
            times = [timed(lambda sql=sql: connection.execute(sql).fetchall()) for _ in range(4 * repeats)]
        figures[f"{name}_connection"] = spread(times)
    store.close()
    command = [sys.executable, "-m", "cognition", "sql", TOP, "--run", str(folder)]
    process = [timed(lambda: subprocess.run(command, check=True, capture_output=True, cwd=ROOT)) for _ in range(3)]
    figures["top_command"] = spread(process)
    figures["naive"] = spread([timed(lambda: naive_leaderboard(Reader(folder))) for _ in range(2)])
    return figures


def naive_leaderboard(reader: Reader) -> list[tuple[Any, ...]]:
    """All rows as records, joined by dictionaries and sorted."""
    candidates = {record.candidate_id: record for record in reader.rows(Candidate)}
    reports = {record.candidate_id: record for record in reader.rows(Report) if record.kind == "passed"}
    claims = {record.candidate_id: record for record in reader.rows(Claim)}
    trials: Counter[tuple[str, str]] = Counter()
    for trial in reader.rows(Trial):
        trials[trial.candidate_id, trial.stage] += trial.status == "finished"
    best: dict[str, Verdict] = {}
    for verdict in reader.rows(Verdict):
        if verdict.fitness is not None:
            known = best.get(verdict.candidate_id)
            if known is None or known.fitness is None or verdict.fitness > known.fitness:
                best[verdict.candidate_id] = verdict
    rows = []
    for verdict in best.values():
        candidate, report = candidates[verdict.candidate_id], reports.get(verdict.candidate_id)
        claim = claims.get(verdict.candidate_id)
        num = trials[verdict.candidate_id, verdict.stage]
        rows.append((verdict.fitness, candidate.name, verdict.loss, report and report.num_parameters, claim, num))
    rows.sort(key=lambda row: -(row[0] or 0.0))
    return rows


def asked_queries() -> list[tuple[str, str]]:
    """Text and slot of the labelled queries."""
    return [(row["text"], row["slot"]) for row in yaml.safe_load(QUERIES.read_text(encoding="utf-8"))["queries"]]


def measure_retrieval(insights: Sequence[Insight], rng: random.Random) -> dict[str, Any]:
    """Milliseconds of searches in a memory of what is live of these insights, of adding to it, and of the naive way."""
    asked = asked_queries()
    memory = Memory(HashedNgrams())
    half = len(insights) // 2
    figures: dict[str, Any] = {}
    began = time.perf_counter()
    for first in range(0, len(insights), half):  # resumed once: the second half supersedes much of the first
        memory.add(insights[first : first + half])
    figures["fill_s"] = time.perf_counter() - began
    figures["num_insights"], figures["num_live"] = len(insights), len(memory)
    figures["first_search_ms"] = timed(lambda: memory.search(asked[0][0], NUM)).wall
    figures["search_slot"] = spread([timed(lambda q=q, s=s: memory.search(q, NUM, s)) for q, s in asked])
    figures["search"] = spread([timed(lambda q=q: memory.search(q, NUM)) for q, _ in asked])
    # A campaign: insights one by one, every one searched for once.
    words = Words(rng)
    adding, searching = [], []
    for place in range(int(0.06 * len(memory))):
        base = insights[rng.randrange(len(insights))]
        change = f"{words.some(1, 3)} again {place}"
        insight = dataclasses.replace(
            base,
            insight_id=f"n-{place}",
            claim=f"'{change}' {words.some(15, 30)}",
            change=change,
            subject=base.subject if place % 2 else subject_for(base.slot, base.scale, base.stage, change),
        )
        adding.append(timed(lambda insight=insight: memory.add([insight])))
        if place % 20 == 0:
            query, slot = asked[place // 20 % len(asked)]
            searching.append(timed(lambda query=query, slot=slot: memory.search(query, NUM, slot)))
    figures["add_one"] = spread(adding)
    figures["search_while_adding"] = spread(searching)
    texts = [insight.claim for insight in insights[-figures["num_live"] :]]
    figures["naive_search_ms"] = timed(lambda: naive_search(asked[0][0], texts)).wall
    terms = [terms_of(text) for text in texts]
    figures["bm25s_anew_ms"] = timed(lambda: bm25s.BM25().index(terms, show_progress=False)).wall
    library, index = load_library(), Index(HashedNgrams())
    index.add(documents_of(library.entries.values(), library.papers))
    index.search(asked[0][0], NUM)
    times = [timed(lambda q=q, s=s: index.search(q, NUM, s)) for q, s in asked]
    figures["library_search"] = spread(times) | {"num_entries": len(library.entries)}
    return figures


def naive_search(query: str, texts: Sequence[str]) -> list[int]:
    """Every text embedded and scored anew; the places of the best by fused rank."""
    embedder = HashedNgrams()
    vector = embedder.embed([query])[0]
    similarities = [float(np.dot(embedder.embed([text])[0], vector)) for text in texts]
    counted = [Counter(terms_of(text)) for text in texts]
    mean = statistics.fmean(sum(counts.values()) for counts in counted)
    scores = [0.0] * len(texts)
    for term in terms_of(query):
        holding = [place for place, counts in enumerate(counted) if term in counts]
        idf = math.log(1 + (len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))
        for place in holding:
            count, length = counted[place][term], sum(counted[place].values())
            scores[place] += idf * count / (count + 1.5 * (0.25 + 0.75 * length / mean))
    fused: Counter[int] = Counter()
    for figures in (similarities, scores):
        for rank, place in enumerate(sorted(range(len(texts)), key=lambda place: -figures[place])[:50], start=1):
            fused[place] += 1 / (20 + rank)
    return [place for place, _ in fused.most_common(NUM)]


def told(found: dict[str, float]) -> str:
    """A spread as text."""
    return (
        f"{found['median_ms']:.2f} ms (least {found['least_ms']:.2f}, p95 {found['p95_ms']:.2f}, "
        f"most {found['most_ms']:.2f}, processor {found['cpu_ms']:.2f})"
    )


def report(figures: dict[str, Any]) -> str:
    """The figures as text, with the ratios."""
    store, board, retrieval = figures["store"], figures["leaderboard"], figures["retrieval"]
    lines = [
        f"{sum(store['rows'].values())} rows in {store['num_fragments']} fragments ({store['size_mb']:.0f} MB), "
        f"filled in {store['fill_s']:.0f} s, {store['append_s']:.0f} s of it appending"
    ]
    naive = board["naive"]["median_ms"]
    for name, found in board.items():
        lines.append(f"leaderboard {name}: {told(found)}; naive takes {naive / found['median_ms']:.1f} times as long")
    naive = retrieval["naive_search_ms"]
    lines.append(
        f"memory of {retrieval['num_live']} live insights of {retrieval['num_insights']}: filled in "
        f"{retrieval['fill_s']:.1f} s, first search {retrieval['first_search_ms']:.0f} ms; "
        f"naive search {naive:.0f} ms, bm25s made anew {retrieval['bm25s_anew_ms']:.0f} ms"
    )
    for name in ("search", "search_slot", "search_while_adding"):
        found = retrieval[name]
        lines.append(f"{name}: {told(found)}; naive takes {naive / found['median_ms']:.0f} times as long")
    lines += [f"{name}: {told(retrieval[name])}" for name in ("add_one", "library_search")]
    for name, found in (("leaderboard", board["top_warm"]), ("retrieval", retrieval["search_slot"])):
        met = "met" if found["median_ms"] < GOALS_MS[name] else "not met"
        lines.append(f"goal: {name} under {GOALS_MS[name]:.0f} ms, warm: {met}")
    return "\n".join(lines)


def main() -> None:
    """Fill a store, measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the run here, and take it from here when it is there already")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder that cognition_scale.json goes to")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "run"
        kept = folder.with_suffix(".yaml")
        if options.folder and kept.exists():
            store = yaml.safe_load(kept.read_text())
        else:
            store = fill(folder, options.candidates, options.commits, options.seed)
            if options.folder:
                kept.write_text(yaml.safe_dump(store))
        insights = Reader(folder).rows(Insight)
        figures = {
            "load_before": load,
            "store": store,
            "retrieval": measure_retrieval(insights, random.Random(options.seed)),
        }
        del insights
        figures["leaderboard"] = measure_leaderboard(folder, options.repeats, options.seed)
    print(report(figures))
    print(f"written to {write_result('cognition_scale', figures, options.results)}")


if __name__ == "__main__":
    main()
