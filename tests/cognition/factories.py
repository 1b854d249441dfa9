from __future__ import annotations

from cognition.folders import Folder, Place, folder_at
from cognition.manifest import read_manifest
from cognition.records import (
    Candidate,
    Charge,
    ChargeOutcome,
    Claim,
    Event,
    FailureKind,
    Insight,
    Metric,
    NoiseLevel,
    Property,
    Report,
    ReportKind,
    Score,
    Trial,
    TrialStatus,
    Verdict,
    candidate_id_of,
    charge_id_of,
    trial_id_of,
)


def make_event(number: int) -> Event:
    return Event(event_id=f"event-{number}", kind="intent", subject=f"propose/{number}", created_at=float(number))


def make_candidate(number: int, *, parent: Candidate | None = None, arm: str = "grammar") -> Candidate:
    source = f"class TokenMixer:\n    number = {number}\n    gate = True\n"
    return Candidate(
        candidate_id=candidate_id_of(source),
        number=number,
        arm=arm,
        slot="token_mixer",
        name=f"mixer-{number}",
        motivation="a gate, said 'so'; the state\nforgets",
        source=source,
        parent_ids=(parent.candidate_id,) if parent else (),
        changes=("gate: none -> sigmoid",),
    )


def make_report(candidate: Candidate, kind: ReportKind = ReportKind.passed) -> Report:
    return Report(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        attempt=candidate.attempt,
        kind=kind,
        properties=(
            Property(name="causality", passed=True, figure=0.0, limit=1e-4),
            Property(name="cost", passed=kind is ReportKind.passed, figure=float("inf"), limit=2.0, detail='it "grew"'),
        ),
        fingerprint=(0.25, -1.5, 3.0),
        num_parameters=1000 + candidate.number,
        flops_per_token=2.5e5,
        state_bytes=4096,
    )


def make_trial(
    candidate: Candidate, *, loss: float | None = 2.5, seed: int = 0, stage: str = "explore", slot_s: float = 10.0
) -> Trial:
    return Trial(
        trial_id=trial_id_of(candidate.candidate_id, stage, seed),
        candidate_id=candidate.candidate_id,
        stage=stage,
        seed=seed,
        split="validation",
        status=TrialStatus.failed if loss is None else TrialStatus.finished,
        failure=FailureKind.nonfinite if loss is None else None,
        loss=loss,
        benchmark=None if loss is None else 0.5 + seed / 10,
        scores=() if loss is None else (Score(name="loss", value=loss, stderr=0.01, num_items=64),),
        slot_s=slot_s,
    )


def make_charge(
    candidate: Candidate,
    *,
    slot_s: float = 10.0,
    stage: str = "explore",
    seed: int = 0,
    num_gpus: float = 0.0,
    outcome: ChargeOutcome = ChargeOutcome.finished,
    started_at: float = 0.0,
) -> Charge:
    trial_id = trial_id_of(candidate.candidate_id, stage, seed)
    return Charge(
        charge_id=charge_id_of(trial_id, started_at),
        trial_id=trial_id,
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        stage=stage,
        seed=seed,
        arm=candidate.arm,
        pool=stage,
        num_cpus=1.0,
        num_gpus=num_gpus,
        slot_s=slot_s,
        gpu_s=slot_s * num_gpus,
        outcome=outcome,
        started_at=started_at,
        finished_at=started_at + slot_s,
    )


def make_verdict(candidate: Candidate, fitness: float | None, *, loss: float | None = 2.5) -> Verdict:
    return Verdict(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        stage="explore",
        fitness=fitness,
        loss=loss,
        benchmark=None if loss is None else 0.5,
    )


def make_metric(trial: Trial, step: int, *, loss: float = 3.0) -> Metric:
    return Metric(
        trial_id=trial.trial_id,
        task="text",
        step=step,
        loss=loss,
        grad_norm=1.0,
        learning_rate=1e-3,
        tokens=step * 2048,
        elapsed_s=step / 10,
    )


def make_claim(candidate: Candidate, baseline: Candidate, *, difference: float = -0.1) -> Claim:
    return Claim(
        candidate_id=candidate.candidate_id,
        baseline_id=baseline.candidate_id,
        stage="verify",
        split="heldout",
        num_seeds=3,
        mean_loss=2.2,
        std_loss=0.02,
        baseline_mean_loss=2.3,
        baseline_std_loss=0.03,
        difference=difference,
        low=difference - 0.05,
        high=difference + 0.05,
    )


def make_noise(
    *, stage: str = "verify", sigma: float = 0.03, num_results: int = 9, smallest_difference: float | None = 0.25
) -> NoiseLevel:
    return NoiseLevel(
        scale="tiny",
        stage=stage,
        metric="loss",
        num_results=num_results,
        num_mixers=3,
        num_seeds=3,
        sigma=sigma,
        dof=4,
        stage_seeds=3,
        smallest_difference=smallest_difference,
    )


def make_insight(candidate: Candidate, against: Candidate) -> Insight:
    return Insight(
        insight_id=f"insight-{candidate.number}",
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        claim="the gate helps",
        slot="token_mixer",
        stage="explore",
        against="parent",
        against_id=against.candidate_id,
        effect=-0.05,
        low=-0.1,
        high=0.0,
        evidence=("a-explore-s0",),
    )


def lineage_of(folder: Folder | Place) -> Folder:
    return folder_at(folder).within("lineage")


def live(folder: Folder | Place) -> list[str]:
    return [fragment.file for fragment in read_manifest(lineage_of(folder)).live()]


def on_disk(folder: Folder | Place) -> set[str]:
    return set(lineage_of(folder).files()) - {"manifest.json"}
