"""`python -m models rank`: every baseline and discovery on text and probes, several seeds, one table with spreads.

Trials are those of a campaign: jailed, matched in parameters, scored by the sealed evaluation. Finished ones are kept
in a file, so that the same command goes on where it stopped, and more mixers or seeds cost only themselves; a change of
the code, of torch, the stage or the data makes them anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cognition.records import Trial, candidate_id_of
from models.commands.data import add_data, data_of
from models.commands.kept import Gate, Kept, code_digest
from models.commands.machine import machine
from models.commands.mixers import Named, add_slot, named
from models.commands.results import require_writable, write_json
from models.commands.trials import require_backend, require_device, run_trials
from models.data import DataSpec, load_corpus, require_enough
from models.minimal_pairs.spec import CHANCE, PAIRS, PairSpec
from models.probes import load_probes
from models.sandbox.exam import ExamJob, examine
from models.sandbox.settings import REQUIREMENTS, SandboxSettings
from models.scale import Stage, load_scale
from models.slots import slot_named
from models.trial import TrialJob

TELLING = ("mqar_4", "compression")  # of conf/probes/cpu.yaml: where mixers differ most
_EXAM_S = 120.0
_DEADLINE_FACTOR = 4  # over the stage's own: more probes, on a machine that does other things too


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A mixer's place: values over its seeds, by score name; what failed is named instead."""

    name: str
    gate: Gate
    values: Mapping[str, tuple[float, ...]]
    problem: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rank`."""
    parser.description = "Train mixers on text and probes and rank them by the sealed loss, with spreads over seeds."
    add_slot(parser)
    parser.add_argument("--scale", default="cpu", help="conf/scale file; its first stage is trained")
    parser.add_argument("--mixers", nargs="+", metavar="NAME|FILE.py", help="default: everything published")
    parser.add_argument(
        "--probes", default=",".join(TELLING), help="names from conf/probes/<probe-set>.yaml, or all, or none"
    )
    parser.add_argument("--probe-set", default="cpu", help="conf/probes file that the names come from")
    parser.add_argument("--minimal-pairs", type=int, default=0, metavar="NUM", help="pairs to score beside (0: none)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each mixer")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trials at once")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")
    add_data(parser)
    parser.add_argument("--results", type=Path, default=Path("runs/rank"), help="folder of finished trials")
    parser.add_argument(
        "--json", type=Path, metavar="FILE.json", help="write the table with machine and versions there"
    )


def run(options: argparse.Namespace) -> int:
    """Train what is missing, print the table. Raises ValueError and SandboxError for what the user has to mend."""
    begun = time.monotonic()
    require_backend()
    require_device(options.device)
    slot = slot_named(options.slot)
    if options.seeds < 1 or options.workers < 1:
        raise ValueError(f"--seeds is {options.seeds}, --workers {options.workers}; give 1 or more of each")
    found = [named(slot, text) for text in options.mixers or slot.published]
    mixers = list({candidate_id_of(mixer.source): mixer for mixer in reversed(found)}.values())[::-1]  # each once
    stage = _stage(options)
    data = data_of(options)
    require_enough(load_corpus(data), stage, data.seed)
    sandbox = SandboxSettings(require=options.require)
    require_writable(options.json)
    kept = Kept(options.results / f"{options.scale}.jsonl")
    jobs = [
        _job(mixer, slot.name, stage, seed, data, options.device) for seed in range(options.seeds) for mixer in mixers
    ]
    missing = [job for job in jobs if job.trial_id not in kept.trials]
    print(
        f"{len(mixers)} mixers, {options.seeds} seeds, text, {', '.join(p.name for p in stage.probes) or 'no probe'}: "
        f"{len(missing)} of {len(jobs)} trials to train, {options.workers} at once",
        flush=True,
    )
    names = {job.candidate_id: mixer.name for mixer, job in zip(mixers, jobs, strict=False)}
    trials = run_trials(missing, workers=options.workers, sandbox=sandbox, device=options.device)
    for done, (job, trial) in enumerate(trials, 1):
        kept.add(trial)
        print(f"{done:>4}/{len(missing)}  {names[job.candidate_id]:<26} seed {job.seed}  {_said(trial)}", flush=True)
    gates = _gates(mixers, slot.name, stage, sandbox, kept)
    rows = _rows(mixers, [kept.trials[job.trial_id] for job in jobs], gates)
    print(table(rows, stage))
    if options.json is not None:
        write_json(options.json, {"machine": machine(), "figures": figures(rows, stage, options)})
    print(f"{time.monotonic() - begun:.0f} s; finished trials are in {kept.path}")
    return 0


def table(rows: Sequence[Row], stage: Stage) -> str:
    """Rows by sealed loss, probes with mean and spread (standard deviation over seeds), chance in the heading."""
    chances = _chances(stage)
    columns = ["loss", *chances]
    head = f"{'mixer':<26}" + "".join(f"{_heading(column, chances):>{_width(column)}}" for column in columns)
    lines = [head + f"{'params':>9}{'MFLOP/token':>13}{'state bytes':>13}"]
    for row in _ranked(rows):
        cells = "".join(f"{_cell(row.values.get(column, ())):>{_width(column)}}" for column in columns)
        lines.append(f"{row.name:<26}{cells}{_costs(row.gate)}{row.problem and '  ' + row.problem}")
    return "\n".join(lines)


def _chances(stage: Stage) -> dict[str, float]:
    """Columns of accuracies, with what guessing gives."""
    pairs = {PAIRS: CHANCE} if stage.minimal_pairs is not None else {}
    return {f"{name}_accuracy": chance for name, chance in ({p.name: p.chance for p in stage.probes} | pairs).items()}


def figures(rows: Sequence[Row], stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """What the table shows and what it was made with: every seed's value, not means alone."""
    return {
        "what": f"{options.seeds} seeds of stage {stage.name} at scale {options.scale}, slot {options.slot}",
        "data": " ".join(options.data),
        "device": options.device,
        "code": code_digest(),
        "chance": _chances(stage),
        "rows": [
            {
                "mixer": row.name,
                "values": {name: list(values) for name, values in row.values.items()},
                "mean": {name: statistics.fmean(values) for name, values in row.values.items()},
                "spread": {name: statistics.stdev(v) for name, v in row.values.items() if len(v) > 1},
                "num_parameters": row.gate.num_parameters,
                "flops_per_token": row.gate.flops_per_token,
                "state_bytes": row.gate.state_bytes,
                "problem": row.problem or None,
            }
            for row in _ranked(rows)
        ],
    }


def _ranked(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: statistics.fmean(row.values.get("loss") or (math.inf,)))


def _heading(column: str, chances: Mapping[str, float]) -> str:
    name = column.removesuffix("_accuracy")
    return f"{name} ({chances[column]:.2f})" if column in chances else name


def _width(column: str) -> int:
    return 16 if column == "loss" else max(16, len(column) + 2)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" +-{statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _costs(gate: Gate) -> str:
    flops = "-" if gate.flops_per_token is None else f"{gate.flops_per_token / 1e6:.3f}"
    state = "-" if gate.state_bytes is None else f"{gate.state_bytes}"
    return f"{gate.num_parameters or '-':>9}{flops:>13}{state:>13}"


def _stage(options: argparse.Namespace) -> Stage:
    stage = load_scale(options.scale).stages[0]
    known = {probe.name: probe for probe in load_probes(options.probe_set)}
    wanted = {"all": list(known), "none": []}.get(options.probes, options.probes.split(","))
    for name in wanted:
        if name not in known:
            raise ValueError(f"--probes has {name!r}; conf/probes/{options.probe_set}.yaml has {', '.join(known)}")
    return replace(
        stage,
        probes=tuple(known[name] for name in wanted),
        minimal_pairs=PairSpec(num=options.minimal_pairs) if options.minimal_pairs else None,
        deadline_s=stage.deadline_s * _DEADLINE_FACTOR * (1 + len(wanted)),
    )


def _job(mixer: Named, slot: str, stage: Stage, seed: int, data: DataSpec, device: str) -> TrialJob:
    candidate_id = candidate_id_of(mixer.source)
    conditions = json.dumps(
        [asdict(stage), asdict(data), load_corpus(data).digest, device, code_digest()], sort_keys=True
    )
    digest = hashlib.sha256(conditions.encode()).hexdigest()[:12]
    return TrialJob(
        trial_id=f"{candidate_id}-{digest}-{seed}",
        candidate_id=candidate_id,
        source=mixer.source,
        slot=slot,
        stage=stage,
        seed=seed,
        data=data,
        device=device,
    )


def _gates(
    mixers: Iterable[Named], slot: str, stage: Stage, sandbox: SandboxSettings, kept: Kept
) -> Mapping[str, Gate]:
    """By name: cost, and who would not get into a campaign."""
    host = hashlib.sha256(json.dumps([slot, asdict(stage.size), stage.length, code_digest()]).encode()).hexdigest()[:12]
    keys = {mixer.name: f"{candidate_id_of(mixer.source)}-{host}" for mixer in mixers}
    with ExitStack() as stack:
        server = None
        for mixer in mixers:
            if keys[mixer.name] in kept.gates:
                continue
            server = server or stack.enter_context(sandbox.fork_server())
            job = ExamJob(
                candidate_id=candidate_id_of(mixer.source),
                number=0,
                attempt=0,
                source=mixer.source,
                slot=slot,
                size=stage.size,
                length=stage.length,
                deadline_s=_EXAM_S,
            )
            kept.add(Gate.of(keys[mixer.name], examine(job, server)))
    return {name: kept.gates[key] for name, key in keys.items()}


def _rows(mixers: Iterable[Named], trials: Sequence[Trial], gates: Mapping[str, Gate]) -> list[Row]:
    rows = []
    for mixer in mixers:
        own = [trial for trial in trials if trial.candidate_id == candidate_id_of(mixer.source)]
        values: dict[str, list[float]] = {}
        for score in (score for trial in own for score in trial.scores):
            values.setdefault(score.name, []).append(score.value)
        gate = gates[mixer.name]
        problems = [f"gate: {gate.refused}"] * bool(gate.refused) + [_said(t) for t in own if not t.succeeded]
        rows.append(
            Row(
                name=mixer.name,
                gate=gate,
                values={name: tuple(found) for name, found in values.items()},
                problem="; ".join(problems),
            )
        )
    return rows


def _said(trial: Trial) -> str:
    if not trial.succeeded:
        return f"{trial.failure or trial.status}: {trial.detail.splitlines()[0] if trial.detail else ''}"
    shown = "  ".join(f"{score.name.removesuffix('_accuracy')} {score.value:.3f}" for score in trial.scores)
    return f"{shown}  ({trial.slot_s:.1f} s)"
