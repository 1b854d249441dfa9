"""One page from what the parts have left: measured, failed, or not yet run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_campaign import PARTS
from benchmarks.gpu_campaign.plan import Outcome, State, outcome_of

QUESTIONS = {
    "child": "CUDA in a jailed, forked child",
    "compile": "Triton and Inductor in the jail",
    "memory": "a card's memory, shared",
    "cost": "step time in the jail",
    "shared": "trials at once on one card",
    "campaign": "founders, grammar, verification",
}

Figures = Mapping[str, Any]


def write_report(out: Path) -> Path:
    """OUT/report.md from OUT/parts."""
    path = out / "report.md"
    path.write_text(report({part: outcome_of(out, part) for part in PARTS}))
    return path


def report(outcomes: Mapping[str, Outcome | None]) -> str:
    """The page, in Markdown."""
    known = [outcome for outcome in outcomes.values() if outcome is not None]
    lines = ["# A jailed campaign on one card", ""]
    devices = sorted({outcome.device for outcome in known})
    lines += ["Nothing has been run yet." if not known else f"Measured on: {'; '.join(devices)}."]
    if any("CPU in a GPU's place" in device for device in devices):
        lines += ["", "**A CPU stood in a GPU's place: sizes are tiny, and nothing here is proven on a GPU.**"]
    lines += _machines(known)
    lines += ["", "| part | state | seconds | |", "|---|---|---|---|"]
    for part, outcome in outcomes.items():
        state = "not yet run" if outcome is None else outcome.state.value
        seconds = "" if outcome is None or not outcome.seconds else f"{outcome.seconds:g}"
        detail = "" if outcome is None else _cell(outcome.detail)
        lines += [f"| `{part}` | {state} | {seconds} | {detail} |"]
    for part, outcome in outcomes.items():
        lines += ["", f"## `{part}`: {QUESTIONS[part]}", ""]
        if outcome is None:
            lines += ["Not yet run."]
            continue
        if outcome.state is State.failed:
            lines += ["Failed:", "", "```", outcome.detail.strip() or "no reason was told", "```", ""]
        elif outcome.state is State.unfinished:
            lines += [f"Unfinished: {outcome.detail}", ""]
        lines += _told(part, outcome.figures)
    return "\n".join(lines).rstrip() + "\n"


def _machines(known: Sequence[Outcome]) -> list[str]:
    """Each machine once."""
    found: list[str] = []
    for outcome in known:
        told = outcome.machine
        versions = ", ".join(f"{name} {version}" for name, version in (told.get("versions") or {}).items() if version)
        line = (
            f"- {outcome.device}; {told.get('cpu')}, {told.get('cores')} cores, {told.get('system')}; "
            f"Python {told.get('python')}, {versions}; {told.get('date')}"
        )
        if line not in found:
            found.append(line)
    return ["", *found] if found else []


def _told(part: str, figures: Figures) -> list[str]:
    """What a part found; a figure that is missing is left out, since a kill may have come before it."""
    return _WORDS[part](figures) or ["No figures."]


def _child(figures: Figures) -> list[str]:
    lines = []
    if layers := figures.get("layers"):
        missing = [f"{name} ({why})" for name, why in layers.items() if why is not True]
        lines += [f"- layers of the wide jail in force: {len(layers) - len(missing)} of {len(layers)}"]
        lines += [f"- missing: {_cell('; '.join(missing))}"] * bool(missing)
    if look := figures.get("look"):
        before = "yes" if look.get("initialised_before") or look.get("bad_fork") else "no"
        lines += [
            f"- CUDA was touched before the fork: {before}; the child's first touch took {look['first_touch_s']} s"
        ]
    if trial := figures.get("trial"):
        lines += [f"- a whole trial in the jail: {_pairs(trial)}"]
    if losses := figures.get("losses"):
        pairs = zip(losses["jailed"], losses["outside"], strict=True)
        lines += [
            f"- losses in the jail and outside, same seed: at most {losses['apart']:.3%} apart "
            f"(allowed: {losses['tolerance']:.0%})",
            "",
            *_table(["in the jail", "outside"], [[f"{one:.5f}", f"{other:.5f}"] for one, other in pairs]),
        ]
    return lines


def _compile(figures: Figures) -> list[str]:
    rows, failures = [], []
    for place in ("jailed", "jailed_with_cache", "outside"):
        found = figures.get(place, {})
        workers, triton, inductor = (found.get(what, {}) for what in ("workers", "triton", "inductor"))
        caches = found.get("caches", {})
        kept = ", ".join(f"{name} {size['files']} files" for name, size in caches.items() if isinstance(size, Mapping))
        cells = [
            workers.get("seconds"),
            triton.get("seconds"),
            inductor.get("first_s"),
            inductor.get("again_s"),
            inductor.get("eager_s"),
        ]
        rows += [[place.replace("_", " "), *map(_number, cells), kept, _number(caches.get("processes"))]] * bool(found)
        if end := found.get("end"):
            failures += ["", f"Cut off, {place.replace('_', ' ')}: {_cell(end)}"]
        for what, told in (("Workers", workers), ("Triton", triton), ("Inductor", inductor)):
            if why := told.get("why"):
                failures += ["", f"{what}, {place.replace('_', ' ')}:", "", "```", why.strip(), "```"]
    heads = ["", "workers, s", "Triton, s", "Inductor: first step, s", "again, s", "eager, s", "caches", "processes"]
    return [*_table(heads, rows), *failures] if rows else []


def _memory(figures: Figures) -> list[str]:
    lines = [
        f"- {name}: {_pairs({key: value for key, value in figures[name].items() if key != 'detail'})}"
        + (f"; {_cell(figures[name]['detail'])}" if figures[name].get("detail") else "")
        for name in ("hog", "neighbour")
        if name in figures
    ]
    if "neighbour_went_on_s" in figures:
        lines += [f"- the neighbour went on for {figures['neighbour_went_on_s']} s after the other had ended"]
    return lines


def _cost(figures: Figures) -> list[str]:
    if "ratio" not in figures:
        return []
    rows = [[way, ", ".join(f"{1e3 * each:.2f}" for each in found)] for way, found in figures["step_s"].items()]
    ratio, fastest, goal = figures["ratio"], figures["ratio_of_fastest"], figures["goal"]
    return [
        f"Jailed over outside: **{ratio:.3f}** (goal: {goal:g} at most); of the fastest steps {fastest:.3f}; "
        f"{figures['turns']} turns.",
        "",
        *_table(["", "ms per step, median of each turn"], rows),
    ]


def _shared(figures: Figures) -> list[str]:
    by_number = figures.get("by_number", {})
    if not by_number:
        return []
    rows = []
    for num, found in by_number.items():
        usage = found.get("usage", {})
        rows += [
            [
                num,
                _number(found["candidates_per_hour"]),
                _number(found["slot_s"]),
                _number(usage.get("idle_share")),
                _number(usage.get("most_memory_gb")),
                _cell("; ".join(found["failed"])),
            ]
        ]
    first = by_number.get("1", {}).get("candidates_per_hour")
    best = by_number[str(figures["best"])]["candidates_per_hour"]
    gain = f", {best / first:.2f} times one after another" if first else ""
    heads = ["at once", "candidates an hour", "seconds a trial", "idle share", "most memory, GB", "failed"]
    return [f"Best: **{figures['best']}** at once{gain}.", "", *_table(heads, rows)]


def _campaign(figures: Figures) -> list[str]:
    starts = figures.get("starts", [])
    rows = [
        [
            number,
            _number(start["seconds"]),
            _number(start["at_once"]),
            _number(start["explored"]),
            _number(start["explored_per_hour"]),
            _number(start["usage"].get("idle_share")),
            _cell(start["stopped_by"] or "came to its end"),
        ]
        for number, start in enumerate(starts, start=1)
    ]
    heads = ["start", "seconds", "at once", "explored", "an hour", "idle share", "ended by"]
    lines = _table(heads, rows) if rows else []
    for name in ("leaderboard", "trials", "reports", "candidates", "claims"):
        if table := figures.get(name):
            columns = list(table[0])
            lines += ["", f"{name}:", "", *_table(columns, [[_number(row[key]) for key in columns] for row in table])]
    return lines


_WORDS: Mapping[str, Callable[[Figures], list[str]]] = {
    "child": _child,
    "compile": _compile,
    "memory": _memory,
    "cost": _cost,
    "shared": _shared,
    "campaign": _campaign,
}


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def _pairs(found: Figures) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {_number(value)}" for key, value in found.items() if value not in (None, "")
    )


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else _cell(str(value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]
