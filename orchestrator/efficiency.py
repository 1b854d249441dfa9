"""`python -m orchestrator.efficiency runs/X [CANDIDATE ...]`: what finished candidates cost, measured on this machine.

Rows go into the campaign's store where nobody drives it. Then the Pareto fronts of loss against each cost, of all that
was measured there: docs/efficiency.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cognition.pareto import front
from cognition.reader import Reader
from cognition.records import Candidate, Efficiency, Trial
from models.data import DataSpec
from models.efficiency.run import EfficiencyRun
from models.efficiency.settings import EfficiencySettings
from models.sandbox.parent import SandboxError
from models.sandbox.settings import SandboxSettings
from models.scale import Stage, stage_of
from models.trial_job import TrialJob
from orchestrator.afterwards import append
from orchestrator.charges import measuring_id_of
from orchestrator.errors import UsageError
from orchestrator.pools import Pool
from orchestrator.run_folder import RunFolder
from orchestrator.values import read_record
from orchestrator.wording import short

_PLAIN_WIDTH = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A column: what is shown, and the figure that is better the lower it is."""

    heading: str
    shown: Callable[[Efficiency], str]
    figure: Callable[[Efficiency], float | None]


def _cell(value: float | None, form: str, factor: float = 1.0, spread: float | None = None) -> str:
    if value is None:
        return "-"
    return format(value * factor, form) + (f" ±{spread:.0%}" if spread is not None else "")


COSTS: tuple[Cost, ...] = (
    Cost(
        heading="train tok/s",
        shown=lambda row: _cell(row.train_tokens_s, ",.0f", spread=row.train_spread),
        figure=lambda row: None if row.train_tokens_s is None else 1 / row.train_tokens_s,
    ),
    Cost(
        heading="prefill ms",
        shown=lambda row: _cell(row.prefill_s, ".2f", 1e3, row.prefill_spread),
        figure=lambda row: row.prefill_s,
    ),
    Cost(
        heading="decode ms",
        shown=lambda row: (
            _cell(row.decode_s, ".3f", 1e3, row.decode_spread) + " anew" * (row.decode_form == "recompute")
        ),
        figure=lambda row: row.decode_s,
    ),
    Cost(
        heading="train MB",
        shown=lambda row: _cell(row.train_peak_bytes, ".1f", 1e-6),
        figure=lambda row: row.train_peak_bytes,
    ),
    Cost(
        heading="prefill MB",
        shown=lambda row: _cell(row.prefill_peak_bytes, ".1f", 1e-6),
        figure=lambda row: row.prefill_peak_bytes,
    ),
    Cost(
        heading="state bytes",
        shown=lambda row: _cell(row.state_bytes, ",.0f"),
        figure=lambda row: row.state_bytes,
    ),
    Cost(
        heading="MFLOP/token",
        shown=lambda row: _cell(row.flops_per_token, ".3f", 1e-6),
        figure=lambda row: row.flops_per_token,
    ),
    Cost(
        heading="parameters",
        shown=lambda row: _cell(row.num_parameters, ",.0f"),
        figure=lambda row: row.num_parameters,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A campaign's candidates that finished one stage, and what is known of their costs there."""

    stage: Stage
    pool: Pool
    sandbox: SandboxSettings
    settings: EfficiencySettings
    candidates: Mapping[str, Candidate]  # by id, in the order of numbers
    losses: Mapping[str, float]  # mean sealed loss, of those who finished on all seeds
    rows: Sequence[Efficiency]  # the latest of each candidate, length and device


def read(folder: RunFolder, stage: str | None) -> Measured:
    """What is in a run folder, of its last stage unless another is named. Raises UsageError, ValueError, OSError."""
    settings = folder.settings()
    stages = [stage_of(each) for each in settings["scale"]["stages"]]
    names = [each.name for each in stages]
    if stage is not None and stage not in names:
        raise UsageError(f"--stage is {stage!r}: the campaign has {', '.join(names)}")
    chosen = stages[names.index(stage)] if stage is not None else stages[-1]
    reader = Reader(folder.folder)
    losses: dict[str, list[float]] = {}
    for trial in reader.rows(Trial):
        if trial.stage == chosen.name and trial.seed in chosen.seeds and trial.loss is not None:
            losses.setdefault(trial.candidate_id, []).append(trial.loss)
    latest: dict[tuple[str, int, str], Efficiency] = {}
    for row in reader.rows(Efficiency):
        if row.stage == chosen.name:
            key = (row.candidate_id, row.length, row.device)
            latest[key] = max(row, latest.get(key, row), key=lambda each: each.measured_at)
    candidates = sorted(reader.rows(Candidate), key=lambda candidate: (candidate.number, candidate.attempt))
    return Measured(
        stage=chosen,
        pool=read_record(Pool, settings["pools"][settings["stages"][chosen.name]["pool"]], "pools"),
        sandbox=read_record(SandboxSettings, settings["sandbox"], "sandbox"),
        settings=read_record(EfficiencySettings, settings.get("efficiency", {}), "efficiency"),
        candidates={candidate.candidate_id: candidate for candidate in candidates},
        losses={one: fmean(each) for one, each in losses.items() if len(each) == len(chosen.seeds)},
        rows=tuple(latest.values()),
    )


def chosen(campaign: Measured, names: Sequence[str]) -> Sequence[Candidate]:
    """Candidates by number, name or the beginning of their id; without any, everybody who finished the stage.

    Raises UsageError for a name that is nobody's, or several's.
    """
    if not names:
        found = [one for candidate_id, one in campaign.candidates.items() if candidate_id in campaign.losses]
        if not found:
            raise UsageError(f"nobody has finished stage {campaign.stage.name}: name candidates, or another --stage")
        return found
    return [_named(campaign, name) for name in names]


def _named(campaign: Measured, name: str) -> Candidate:
    found = [
        one
        for one in campaign.candidates.values()
        if name in (str(one.number), one.name) or (len(name) > 3 and one.candidate_id.startswith(name))
    ]
    trained = [one for one in found if one.candidate_id in campaign.losses] or found
    if len(trained) != 1:
        said = ", ".join(f"{one.number} {one.name} {one.candidate_id}" for one in trained) or "nobody"
        raise UsageError(f"candidate {name!r} is {said}: give one's number, name, or the beginning of its id")
    return trained[0]


def measure(
    campaign: Measured, candidates: Sequence[Candidate], device: str, told: Callable[[str], None]
) -> list[Efficiency]:
    """Rows of these candidates, one after the other. Raises SandboxError where no candidate can be run at all."""
    rows: list[Efficiency] = []
    with campaign.sandbox.fork_server("cuda" if device == "cuda" else "cpu") as server:
        for candidate in candidates:
            run = EfficiencyRun(
                TrialJob(
                    trial_id=measuring_id_of(candidate.candidate_id, campaign.stage.name, campaign.stage.seeds[0]),
                    candidate_id=candidate.candidate_id,
                    source=candidate.source,
                    slot=candidate.slot,
                    stage=campaign.stage,
                    seed=campaign.stage.seeds[0],
                    data=DataSpec(),
                    device=device,
                    efficiency=campaign.settings,
                ),
                server,
            )
            trial = run.advance()
            rows += run.rows
            problems = dict.fromkeys(filter(None, (trial.detail, *(row.detail for row in run.rows))))
            said = "; ".join(problem.splitlines()[0] for problem in problems)
            told(f"measured    {candidate.number} {candidate.name} in {trial.slot_s:.0f} s{said and ': ' + said}")
    return rows


def fronts(rows: Sequence[Efficiency], losses: Mapping[str, float]) -> Mapping[str, Sequence[str]]:
    """Heading of a cost -> candidates on the Pareto front of loss against it, cheapest first; rows of one length."""
    return {
        cost.heading: front({row.candidate_id: (losses.get(row.candidate_id), cost.figure(row)) for row in rows})
        for cost in COSTS
    }


def show(console: Console, campaign: Measured, rows: Sequence[Efficiency]) -> None:
    """A table for each device and length, by loss; a star where nobody has both a lower loss and a lower cost."""
    for device, machine, length in sorted({(row.device, row.machine, row.length) for row in rows}):
        here = [row for row in rows if (row.device, row.machine, row.length) == (device, machine, length)]
        on_front = fronts(here, campaign.losses)
        memory = " and ".join(sorted({row.memory for row in here} - {""}))
        title = f"stage {campaign.stage.name}, {length} tokens, {machine or device}, memory {memory or 'unknown'}"
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        for heading in ("candidate", "loss"):
            table.add_column(heading)
        for cost in COSTS:
            table.add_column(cost.heading, justify="right")
        table.add_column("time over the reference's")
        for row in sorted(here, key=lambda each: campaign.losses.get(each.candidate_id, float("inf"))):
            candidate = campaign.candidates.get(row.candidate_id)
            loss = campaign.losses.get(row.candidate_id)
            ratios = [_cell(ratio, ".2f") for ratio in (row.train_ratio, row.prefill_ratio, row.decode_ratio)]
            table.add_row(
                Text(f"{candidate.number} {short(candidate.name, 60)}" if candidate else row.candidate_id),
                _cell(loss, ".4f"),
                *(cost.shown(row) + (" *" if row.candidate_id in on_front[cost.heading] else "  ") for cost in COSTS),
                " / ".join(ratios),
            )
        console.print(table)
    console.print("*  on the Pareto front: nobody has a loss and a cost as low, and one of them lower", markup=False)
    console.print("±  distance of the quartiles; ratios are of training / prefill / decoding", markup=False)


def main(arguments: list[str]) -> int:
    """Exit codes: 0 measured and shown, 2 bad input."""
    asked = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    try:
        folder = RunFolder.existing(asked.run)
        campaign = _as_asked(read(folder, asked.stage), asked)
        rows: Sequence[Efficiency] = campaign.rows
        if not asked.show:
            device = asked.device or campaign.pool.device
            _require_device(device)
            candidates = chosen(campaign, asked.candidates)
            new = measure(campaign, candidates, device, lambda line: console.print(line, markup=False))
            rows = [*(row for row in rows if not any(_same(row, other) for other in new)), *new]
            try:
                append(folder, new)
            except UsageError as error:
                console.print(f"not stored  {error}", markup=False)
        elif not rows:
            raise UsageError(f"nothing was measured at stage {campaign.stage.name}: leave --show out")
    except (ValueError, OSError, SandboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(console, campaign, rows)
    return 0


def _as_asked(campaign: Measured, asked: argparse.Namespace) -> Measured:
    """The campaign's settings, and over them what the command line says. Raises ValueError."""
    given = {"lengths": tuple(asked.lengths) if asked.lengths else None, "repeats": asked.repeats}
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(campaign, settings=replace(campaign.settings, **changes))


def _require_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "the stage's trials run on cuda, which this machine lacks: go to one that has it, or --device cpu"
        )


def _same(one: Efficiency, other: Efficiency) -> bool:
    return (one.candidate_id, one.length, one.device) == (other.candidate_id, other.length, other.device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.efficiency",
        description="Measure speed, memory and decoding state of a campaign's candidates on this machine.",
    )
    parser.add_argument("run", metavar="runs/NAME", help="folder of a campaign")
    parser.add_argument(
        "candidates", nargs="*", metavar="CANDIDATE", help="number, name or id; default: who finished the stage"
    )
    parser.add_argument("--stage", help="whose size, batch and recipe are taken; default: the last")
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens; default: the campaign's efficiency.lengths")
    parser.add_argument("--repeats", type=int, help="default: the campaign's efficiency.repeats")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: where the stage's trials ran")
    parser.add_argument("--show", action="store_true", help="measure nothing: show what is in the store")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
