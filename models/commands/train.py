"""`python -m models train --mixer NAME|FILE.py`: one trial as a campaign runs it, its curve on the terminal."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from cognition.records import Metric, Trial, candidate_id_of
from models.commands.data import add_data, data_of
from models.commands.mixers import add_slot, named
from models.commands.results import require_writable, write_json
from models.commands.trials import require_backend, require_device, run_trials
from models.data import load_corpus, require_enough
from models.sandbox.settings import REQUIREMENTS, SandboxSettings
from models.scale import Stage, load_scale
from models.slots import slot_named
from models.trial import TrialJob

TRAINED, FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train`."""
    parser.description = "Train one mixer in the host at a scale, jailed, and score it by the sealed evaluation."
    parser.add_argument("--mixer", required=True, metavar="NAME|FILE.py[:Class]", help="see `python -m models list`")
    add_slot(parser)
    parser.add_argument("--scale", default="cpu", help="conf/scale file")
    parser.add_argument("--stage", help="one of the scale's stages; default: its first")
    parser.add_argument("--steps", type=int, help="training steps, in place of the stage's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--processes", type=int, default=1, help="that train on it together, one per GPU with --device cuda"
    )
    parser.add_argument("--require", choices=REQUIREMENTS, default="available", help="full: insist on every layer")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the trial and its curve there")
    add_data(parser)


def run(options: argparse.Namespace) -> int:
    """Train, print the curve and the scores. Raises ValueError and SandboxError for what the user has to mend."""
    require_backend()
    require_device(options.device)
    slot = slot_named(options.slot)
    mixer = named(slot, options.mixer)
    stage = _stage(options)
    data = data_of(options)
    require_enough(load_corpus(data), stage, data.seed)
    require_writable(options.out)
    if not 0 <= options.seed < 1 << 31:
        raise ValueError(f"--seed is {options.seed}; give 0 to {(1 << 31) - 1}")
    candidate_id = candidate_id_of(mixer.source)
    job = TrialJob(
        trial_id=f"{candidate_id}-{stage.name}-{options.seed}",
        candidate_id=candidate_id,
        source=mixer.source,
        slot=slot.name,
        stage=stage,
        seed=options.seed,
        data=data,
        device=options.device,
        num_processes=options.processes,
    )
    together = "" if options.processes == 1 else f", {options.processes} processes"
    print(
        f"{mixer.name}: {stage.steps} steps of {stage.batch_size} x {stage.length} tokens on {options.device}{together}"
    )
    curve: list[Metric] = []

    def show(_: TrialJob, point: Metric) -> None:
        before = curve[-1] if curve and curve[-1].task == point.task else None
        curve.append(point)
        print(f"{point.task:<20}{point.step:>8}  loss {point.loss:.4f}  {_speed(before, point):>19}", flush=True)

    sandbox = SandboxSettings(require=options.require)
    ((_, trial),) = run_trials([job], workers=1, sandbox=sandbox, device=options.device, on_point=show)
    print(_told(trial))
    told = {"mixer": mixer.name, "trial": asdict(trial), "curve": [asdict(point) for point in curve]}
    write_json(options.out, told)
    return TRAINED if trial.succeeded else FAILED


def _speed(before: Metric | None, point: Metric) -> str:
    """Between two points of a task; the first tells nothing, since what came before it was no training."""
    if before is None or point.elapsed_s <= before.elapsed_s:
        return ""
    return f"{(point.tokens - before.tokens) / (point.elapsed_s - before.elapsed_s):,.0f} tokens/s"


def _stage(options: argparse.Namespace) -> Stage:
    scale = load_scale(options.scale)
    stages = {stage.name: stage for stage in scale.stages}
    name = options.stage or scale.stages[0].name
    if name not in stages:
        raise ValueError(f"--stage is {name!r}; scale {options.scale} has {', '.join(stages)}")
    stage = stages[name]
    if options.steps is None:
        return stage
    warmup_steps = min(stage.warmup_steps, max(0, options.steps // 10))
    return replace(stage, steps=options.steps, warmup_steps=warmup_steps)


def _told(trial: Trial) -> str:
    if not trial.succeeded:
        return f"{trial.failure or trial.status}: {trial.detail}"
    lines = [f"{trial.num_parameters:,} non-embedding parameters, {trial.tokens:,} tokens in {trial.slot_s:.1f} s"]
    for score in trial.scores:
        error = "" if score.stderr is None else f" +- {score.stderr:.4f}"
        chance = "" if score.chance is None else f"  (chance {score.chance:.3f})"
        lines.append(f"{score.name:<28}{score.value:.4f}{error}{chance}")
    return "\n".join(lines)
