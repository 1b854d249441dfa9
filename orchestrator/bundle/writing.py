"""Writes a bundle: everything or nothing, in a folder of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cognition.lineage import diff_to_parent
from cognition.records import Metric, Trial
from models.checkpoints import CheckpointError
from models.commands.evaluate import FOLDER as EVALUATION
from models.commands.trials import require_device
from models.export.again import (
    OTHERS,
    PACKAGES,
    RECORD,
    Machine,
    Recorded,
    digest_of,
    machine,
    require_corpus,
    train_again,
    versions,
    write_record,
)
from models.export.folder import Trained, write_model
from models.export.tokenizer import tokenizer_of
from models.kept_weights import kept_weights
from models.sandbox.settings import SandboxSettings
from models.sandbox.wire import Array
from orchestrator.bundle.card import card
from orchestrator.bundle.ideas import diff_to, idea_text, nearest_idea, nearest_published
from orchestrator.bundle.winner import Winner
from orchestrator.errors import UsageError

_REPRODUCE = Path(__file__).with_name("reproduce.sh")
_ENVIRONMENT = ".reproduce"  # that reproduce.sh makes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    arrays: Mapping[str, Array]
    trial: Trial  # whose figures they have
    machine: Machine  # that trained them
    told: str


def write_bundle(
    winner: Winner,
    out: Path,
    *,
    sandbox: SandboxSettings,
    retrain: bool = False,
    on_point: Callable[[Metric], None] = lambda point: None,
    tell: Callable[[str], None] = print,
) -> Path:
    """Write it to `out`, in the place of a bundle that is there, whose evaluations are kept.

    Raises:
        UsageError: `out` holds something else, or the training that is needed failed.
        ValueError: the corpus is not here, or the candidate's imports cannot be carried along.
        OSError: the folder cannot be written.
    """
    if out.exists() and not (out / "reproduce.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds something else: choose another --out")
    weights = _weights(winner, sandbox, retrain, on_point, tell)
    winner = replace(winner, trial=weights.trial)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _fill(beside, winner, weights)
        beside.chmod(0o755)
        _put(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out


def _put(new: Path, out: Path) -> None:
    """Rename it to its place; the old one is aside, whole, until then, and what was made with it is carried over."""
    if not out.exists():
        new.rename(out)
        return
    _carry_evaluation(out, new)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    old = out.rename(aside / out.name)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        aside.rmdir()
        raise
    if (old / _ENVIRONMENT).is_dir():
        (old / _ENVIRONMENT).rename(out / _ENVIRONMENT)
    shutil.rmtree(aside)


def _carry_evaluation(old: Path, new: Path) -> None:
    """Results stay with the weights that they are of: under their digest, where these are others."""
    if not (old / EVALUATION).is_dir():
        return
    then, now = _digest_in(old), _digest_in(new)
    shutil.copytree(old / EVALUATION, new / EVALUATION)
    if then == now:
        return
    earlier = new / EVALUATION / f"of_weights_{then[:12]}"
    earlier.mkdir(exist_ok=True)
    for found in [path for path in (new / EVALUATION).iterdir() if path.is_file()]:
        found.rename(earlier / found.name)


def _digest_in(bundle: Path) -> str:
    """Of a bundle's weights, as its record tells it."""
    if not (bundle / RECORD).is_file():
        return "unknown"
    told = json.loads((bundle / RECORD).read_text(encoding="utf-8"))
    return str(told.get("weights") or "unknown")


def _fill(folder: Path, winner: Winner, weights: _Weights) -> None:
    trial, job = winner.trial, winner.job
    assert trial.ffn_width is not None, "a finished trial has its width"
    files = write_model(
        folder,
        Trained(
            source=job.source,
            candidate_id=job.candidate_id,
            slot=job.slot,
            size=job.stage.size,
            ffn_width=trial.ffn_width,
            seed=job.seed,
            length=job.stage.length,
            weights=weights.arrays,
            tokenizer=tokenizer_of(job.data),
        ),
    )
    recorded = Recorded(
        job=job,
        corpus=_corpus(winner),
        scores=trial.scores,
        num_parameters=trial.num_parameters,
        weights=digest_of(weights.arrays),
        machine=weights.machine,
    )
    write_record(folder, recorded)
    idea, published = nearest_idea(winner), nearest_published(winner)
    texts = {
        "source.py": job.source,
        "nearest_idea.md": idea_text(idea),
        "diff_to_published.diff": diff_to(winner, published),
        "diff_to_parent.diff": "" if winner.parent is None else diff_to_parent(winner.candidate, winner.parent),
        "requirements.txt": _requirements(winner),
        "README.md": card(winner, idea, published.name, weights.told, files),
        "reproduce.sh": _REPRODUCE.read_text(encoding="utf-8"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "reproduce.sh").chmod(0o755)
    (folder / "config.yaml").write_bytes(winner.config)
    verdict = {
        "verdict": None if winner.verdict is None else asdict(winner.verdict),
        "claims": [asdict(claim) for claim in winner.claims],
        "insights": [asdict(insight) for insight in winner.insights],
        "num_judged": winner.num_judged,
    }
    candidate = asdict(winner.candidate)
    environment = {"campaign": dict(winner.facts), "weights": asdict(weights.machine), "export": asdict(machine())}
    for name, content in {
        "candidate.json": {key: value for key, value in candidate.items() if key != "source"},
        "gate.json": None if winner.report is None else asdict(winner.report),
        "verdict.json": verdict,
        "trials.json": [asdict(one) for one in winner.trials],
        "origins.json": [asdict(origin) for origin in winner.origins],
        "environment.json": {**environment, "files": dict(files)},
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _weights(
    winner: Winner,
    sandbox: SandboxSettings,
    retrain: bool,
    on_point: Callable[[Metric], None],
    tell: Callable[[str], None],
) -> _Weights:
    """Those that the campaign kept; where it kept none, those of the same training, done again."""
    trial, job = winner.trial, winner.job
    if not retrain:
        try:
            found = kept_weights(winner.weights_uri, job.trial_id, job.digest)
        except CheckpointError as error:
            tell(f"{error}: it is trained again")
            found = None
        if found is not None:
            told = "The weights are those that the campaign trained."
            return _Weights(arrays=found, trial=trial, machine=_machine_of(winner), told=told)
    try:
        require_device("cpu" if job.device == "cpu" else "cuda")
    except ValueError as error:
        raise UsageError(
            f"no weights of {job.trial_id} were kept, and it was trained on {job.device}, which is not here: export it "
            "on a machine with a GPU"
        ) from error
    reason = "as asked" if retrain else "since none of its weights were kept"
    tell(f"{job.trial_id} is trained again, jailed, {reason}")
    corpus = Recorded(job=job, corpus=_corpus(winner), scores=(), num_parameters=None, weights="", machine=machine())
    require_corpus(corpus)
    again = train_again(job, sandbox, on_point)
    if not again.trial.succeeded:
        raise UsageError(f"{job.trial_id} finished in the campaign and not now: {again.trial.detail}")
    equal = again.trial.scores == trial.scores
    difference = (again.trial.loss or 0.0) - (trial.loss or 0.0)
    told = (
        "The weights were trained again when it was exported, with the campaign's figures to the bit."
        if equal
        else f"The weights were trained again when it was exported; the loss is {difference:+.6f} nats off the "
        "campaign's, and the figures below are those of these weights."
    )
    tell(told)
    return _Weights(arrays=again.weights, trial=again.trial, machine=machine(), told=told)


def _machine_of(winner: Winner) -> Machine:
    """What is known of where the campaign trained it: this machine, where the trial ran on this host, as it is now."""
    here, told = machine(), dict(winner.facts.get("versions") or {})
    known = {name: told.get(name) for name in PACKAGES if name in told}
    python = str(winner.facts.get("python", ""))
    same = python == here.python and all(here.versions.get(name) == value for name, value in known.items())
    if same and winner.trial.worker.partition(":")[0] == socket.gethostname():
        return here
    return Machine(python=python, processor="", versions=known)


def _corpus(winner: Winner) -> str:
    return str((winner.facts.get("data") or {}).get("digest", ""))


def _requirements(winner: Winner) -> str:
    """What training needs, as it was where the campaign ran, else as it is here; releases without their builds."""
    told: dict[str, Any] = {**versions((*PACKAGES, *OTHERS)), **dict(winner.facts.get("versions") or {})}
    wanted = [name for name in (*PACKAGES, *OTHERS) if told.get(name)]
    project = version("architecture-research-orchestrator")
    head = (
        f"# architecture-research-orchestrator {project}, revision {winner.facts.get('git_revision')}, from a checkout"
    )
    return "\n".join([head, *(f"{name}=={str(told[name]).partition('+')[0]}" for name in wanted), ""])
