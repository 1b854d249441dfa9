"""Records in words: what prompts, briefs and verdicts for people say of candidates. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from agents.brief import Curve, Evidence, Failed, Member
from cognition.records import Candidate, Entry, Insight, Report, Trial

_CURVE_POINTS = 8
_LONG = 600  # characters of a detail


def member_line(member: Member, *, scores: bool = True) -> str:
    """One line: who it is, where it comes from, what was measured."""
    candidate = member.candidate
    words = [f"- candidate {candidate.number}, {one_line(candidate.name, 80)} (arm {candidate.arm})"]
    if candidate.changes:
        words.append("changes: " + "; ".join(one_line(change, 120) for change in candidate.changes[:4]))
    if scores:
        words.append(figures(member))
    return "; ".join(words)


def figures(member: Member) -> str:
    """Everything that was measured of a member, in one line."""
    found: list[str] = []
    verdict, report = member.verdict, member.report
    if verdict is not None and verdict.loss is not None:
        found.append(f"validation loss {verdict.loss:.4f} nats/token")
    if verdict is not None and verdict.benchmark is not None:
        found.append(f"probe accuracy {verdict.benchmark:.2f}")
    found += _scores(member.trials)
    if verdict is not None and verdict.fitness is not None:
        found.append(f"fitness {verdict.fitness:.3f}")
    if report is not None and report.flops_per_token:
        found.append(f"{report.flops_per_token / 1e6:.2f} MFLOPs/token")
    if report is not None:
        found.append(f"state {report.state_bytes} bytes" if report.state_bytes is not None else "state unbounded")
    if verdict is not None and verdict.fitness is None:
        found.append(f"no score: {one_line(verdict.reason, 160)}")
    return ", ".join(found) if found else "not trained"


def curve_line(curve: Curve) -> str:
    """A training curve as a few points."""
    if not curve:
        return "no training curve"
    every = max(1, len(curve) // _CURVE_POINTS)
    points = [*curve[::every]]
    if points[-1] != curve[-1]:
        points.append(curve[-1])
    return "training loss by step: " + ", ".join(f"{step}: {loss:.3f}" for step, loss in points)


def insight_line(insight: Insight) -> str:
    """One line with the insight's id, by which it can be cited, and how sure it is."""
    notes = []
    if insight.confidence is not None:
        notes.append(f"confidence {insight.confidence:.2f}")
    if insight.num_studies > 1 and insight.pooled_effect is not None:
        against = f", {insight.num_contradicting} against" if insight.num_contradicting else ""
        notes.append(f"{insight.num_studies} results{against}, together {insight.pooled_effect:+.4f}")
    if insight.from_run:
        notes.append(f"from campaign {one_line(insight.from_run, 60)}, scale {insight.scale or 'unknown'}")
    return f"- [{insight.insight_id}] {one_line(insight.claim, 300)}" + (f" ({'; '.join(notes)})" if notes else "")


def entry_text(entry: Entry) -> str:
    """A piece of the library, for a prompt."""
    lines = [
        f"When: {entry.trigger}",
        f"Insight: {entry.insight}",
        f"Mechanism: {entry.mechanism}",
        f"Equation: {one_line(entry.equation, 600)}",
        f"Here: {entry.implementation}",
        f"Cost: {entry.cost} State: {entry.state}",
        f"Fails: {entry.failure_modes}",
    ]
    return "\n".join(lines)


def failed_line(failed: Failed) -> str:
    """One line: what was tried and why it came to nothing."""
    candidate, evidence = failed.candidate, failed.evidence
    what = one_line(candidate.name or candidate.motivation, 80)
    detail = _short(evidence.detail)
    why = detail if detail.startswith(evidence.offence) else f"{evidence.offence}: {detail}"
    return f"- candidate {candidate.number}.{candidate.attempt}, {what}: {why}"


def evidence_text(evidence: Evidence) -> str:
    """What failed, with figures and limits; scores are not in it."""
    report = evidence.report
    lines = [f"Outcome: {evidence.offence}"]
    if report.refused:
        lines.append(f"The examination ended as {report.kind.value}.")
        for item in report.properties:
            if not item.passed:
                figure = "" if item.figure is None else f", figure {item.figure:.4g}"
                limit = "" if item.limit is None else f", limit {item.limit:.4g}"
                lines.append(f"- property `{item.name}` failed{figure}{limit}: {_long(item.detail)}")
    else:
        lines.append("It passed the examination and failed in training.")
    if evidence.detail:
        lines += ["", "Details:", "", _long(evidence.detail)]
    return "\n".join(lines)


def report_line(report: Report) -> str:
    """An examination in one line."""
    return f"- attempt {report.attempt}: {report.kind.value}: {_short(report.detail)}"


def outcome_text(candidate: Candidate, report: Report, trials: Sequence[Trial]) -> str:
    """What became of an attempt, for whoever wrote it."""
    if report.refused:
        return f"Refused ({report.kind.value}).\n\n{evidence_text(Evidence(report=report))}"
    failed = Evidence(report=report, trials=tuple(trials))
    if failed.failed:
        return f"Passed the gate, failed in training.\n\n{evidence_text(failed)}"
    losses = [trial.loss for trial in trials if trial.loss is not None]
    shown = f" with loss {fmean(losses):.4f} nats/token" if losses else ""
    return f"Passed the gate and trained{shown}."


def one_line(text: str, width: int) -> str:
    """Printable, without line breaks, cut to a width."""
    flat = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def _scores(trials: Sequence[Trial]) -> list[str]:
    """Probe accuracies beside their chance level, means over seeds."""
    values: dict[str, list[float]] = {}
    chances: dict[str, float | None] = {}
    for trial in trials:
        for score in trial.scores:
            if score.name.endswith("_accuracy"):
                values.setdefault(score.name, []).append(score.value)
                chances[score.name] = score.chance
    return [
        f"{name} {fmean(found):.2f}" + (f" (chance {chances[name]:.2f})" if chances[name] is not None else "")
        for name, found in sorted(values.items())
    ]


def _short(text: str) -> str:
    return one_line(text.splitlines()[-1] if text.strip() else "", 200)


def _long(text: str) -> str:
    """The end of a long detail: tracebacks say there what happened."""
    text = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t").strip()
    return text if len(text) <= 4 * _LONG else "...\n" + text[-4 * _LONG :]
