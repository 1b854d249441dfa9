"""A training in a jailed child, forked from a server that never touched CUDA, against one outside of the jail."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.gpu_campaign.outside import Outside, train_text
from benchmarks.gpu_campaign.setting import job_for, keep_data_in, settings_for
from benchmarks.gpu_campaign.work import Work
from cognition.records import Metric
from models.sandbox.layer import Limits
from models.sandbox.parent import ForkServer
from models.sandbox.sealed import expect, talking
from models.scale import TEXT
from models.trial import TrialRun

TOLERANCE = 0.02  # of the loss: in what order a GPU adds up is not the same twice


def measure(work: Work) -> None:
    """The jail is the one for GPUs, on a CPU too. Raises where losses differ or the trial fails."""
    keep_data_in(work.out)
    settings = settings_for(work.device)
    limits = Limits.for_device("cuda")
    with ForkServer(tasks="benchmarks.gpu_campaign.tasks", device="cuda", limits=limits) as server:
        work.note(layers={layer.name: layer.in_force or layer.detail for layer in server.layers()})
        with talking(
            lambda task, body: server.spawn(task, body, deadline_s=60), "look", {"device": work.device}
        ) as child:
            work.note(look=dict(expect(child, "seen").body))
    job = job_for(settings, work.device)
    with settings.sandbox.fork_server("cuda") as server:
        run = TrialRun(job, server)
        points = []
        while isinstance(point := run.advance(), Metric):
            points += [point] * (point.task == TEXT)
        work.note(
            trial={
                "status": point.status.value,
                "detail": point.detail,
                "sealed_loss": point.loss,
                "slot_seconds": round(point.slot_s, 2),
                "training_seconds": round(point.train_s, 2),
                "sealed_seconds": round(run.sealed_s, 2),
                "tokens_per_s": _tokens_per_s(points),
                "peak_gb": round(max((each.peak_bytes or 0 for each in points), default=0) / 1e9, 2),
            }
        )
        if not point.succeeded:
            raise RuntimeError(f"the jailed trial ended as {point.failure or point.status}: {point.detail}")
        short = replace(job, stage=replace(job.stage, steps=max(8, job.stage.steps // 4)))
        short = replace(short, stage=replace(short.stage, warmup_steps=2, report_every=max(1, short.stage.steps // 8)))
        jailed = train_text(server, short)
    plain = train_text(Outside(device=work.device), short)
    apart = max(abs(one - other) / other for one, other in zip(jailed.losses, plain.losses, strict=True))
    work.note(losses={"jailed": jailed.losses, "outside": plain.losses, "apart": apart, "tolerance": TOLERANCE})
    if apart > TOLERANCE:
        raise ArithmeticError(f"losses in the jail and outside are {apart:.2%} apart, {TOLERANCE:.0%} are allowed")


def _tokens_per_s(points: list[Metric]) -> int | None:
    if len(points) < 2 or points[-1].elapsed_s <= points[0].elapsed_s:
        return None
    return round((points[-1].tokens - points[0].tokens) / (points[-1].elapsed_s - points[0].elapsed_s))
