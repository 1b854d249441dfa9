"""What a campaign came to, on a terminal: the leaderboard, differences to the best baseline, where to look next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.brief import Member
from cognition.folders import joined
from orchestrator.burn import figure
from orchestrator.founders import BASELINE_ARM
from orchestrator.prediction import correlation_line
from orchestrator.result import Result
from orchestrator.shown_claims import answer, claims_table, names_of, noise_line, standing
from orchestrator.wording import clock, short


def show_result(console: Console, result: Result, num_candidates: int) -> None:
    """Leaderboard, differences to the best baseline by stage, where the files are, two queries to try."""
    if result.resumed_finished:
        console.print(
            f"\n{result.folder} is finished ({num_candidates} candidates); its results again. "
            "A larger budget.candidates extends it, run.fresh=true starts another.",
            markup=False,
        )
    for fragment in result.set_aside:
        console.print(f"set aside   damaged fragment {fragment.file} ({fragment.reason})", markup=False)
    console.print(_leaderboard(result))
    names = names_of(member.candidate for member in result.members)
    everything = standing(result.claims)
    for stage in result.stages[1:]:
        claims = [claim for claim in everything if claim.stage == stage]
        if claims:
            console.print(claims_table(claims, names))
    for correlation in result.correlations:
        console.print(f"ranks       {correlation_line(correlation)}", markup=False)
    for level in result.noise:
        if level.metric == "loss":
            console.print(f"noise       {noise_line(level)}", markup=False)
    if everything:
        highest = max((claim.stage for claim in everything), key=result.stages.index)
        console.print("\n" + answer([one for one in everything if one.stage == highest], names), markup=False)
    slot_hours = sum(row.settled.slot_hours for row in result.spend)
    gpu_hours = sum(row.settled.gpu_hours for row in result.spend)
    gpus = f"{figure(gpu_hours)} GPU-hours, " if gpu_hours else ""
    place = shlex.quote(str(result.folder))
    console.print(
        f"\nspent       {slot_hours * 60:.1f} slot-minutes, {gpus}{clock(result.elapsed_s)} on the clock, "
        f"{_money(result)}\n"
        f"files       {joined(result.folder, 'lineage')} (Parquet), {joined(result.folder, 'config.yaml')}\n"
        f'ask         python -m cognition sql "SELECT * FROM leaderboard LIMIT 10" --run {place}\n'
        f'            python -m cognition sql "SELECT arm, count(*), min(loss) FROM candidates JOIN trials '
        f"USING (candidate_id) WHERE stage = '{result.stages[0]}' GROUP BY arm\" --run {place}",
        markup=False,
    )
    if result.stopped_by:
        told = result.stopped_by
        if "command goes on" not in told and "goes on from here" not in told:
            told += ": the same command goes on from here"
        console.print(f"stopped     {told}", markup=False)


def _money(result: Result) -> str:
    """Dollars for models, and what is still reserved for calls that nobody answered."""
    usd = sum(row.settled.usd for row in result.spend)
    held = sum(row.held.usd for row in result.spend)
    num_held = sum(row.num_held for row in result.spend)
    text = f"{usd:.2f} USD"
    if num_held:
        text += f" and {held:.2f} USD reserved for {num_held} calls without an answer"
    return text


def _leaderboard(result: Result) -> Table:
    table = Table(title=f"Leaderboard ({result.stages[0]})", title_justify="left")
    for column in ("#", "candidate", "arm", "fitness", "val loss", "recall", "params", "MFLOPs/token"):
        table.add_column(column, justify="left" if column in ("candidate", "arm") else "right")
    ranked = sorted(
        (m for m in result.members if m.fitness is not None), key=lambda m: (-(m.fitness or 0), m.candidate.number)
    )
    shown = ranked[:8] + [m for m in ranked[8:] if m.candidate.arm == BASELINE_ARM]
    for member in shown:
        table.add_row(*_cells(member))
    return table


def _cells(member: Member) -> Sequence[str | Text]:
    report, verdict = member.report, member.verdict
    assert verdict is not None
    # Counted in the saved weights, by a process that ran nothing of the candidate's; the report's is its own word.
    counted = next((t.num_parameters for t in member.trials if t.stage == verdict.stage and t.num_parameters), None)
    recall = f"{verdict.benchmark:.2f}" if verdict.benchmark is not None else "-"
    return (
        str(member.candidate.number),
        Text(short(member.candidate.name, 48)),
        member.candidate.arm,
        f"{verdict.fitness:.3f}" if verdict.fitness is not None else "-",
        f"{verdict.loss:.4f}" if verdict.loss is not None else "-",
        recall,
        f"{counted:,}" if counted else "-",
        f"{report.flops_per_token / 1e6:.2f}" if report and report.flops_per_token else "-",
    )
