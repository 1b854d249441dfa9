"""Two trials on one card: one takes more than its share, the other trains on."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.gpu_campaign.setting import job_for, keep_data_in, sandbox_for, settings_for
from benchmarks.gpu_campaign.work import Work
from cognition.records import FailureKind, Trial
from models.commands.trials import run_trials
from models.sandbox.settings import SandboxSettings

SHARE = 0.1  # of the card, for each
CPU_GB = 1.0  # on a CPU the watch over the machine's memory stands in its place
TAKES_MIB = {"cuda": 1_024, "cpu": 256}
LONGER = {"cuda": 1, "cpu": 20}  # the neighbour's training, so that it is there when the other one ends

HOG = """
import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.kept = []

    def forward(self, x):
        self.kept.append(torch.ones(MIB << 18, device=x.device))
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return self.proj(x.cumsum(1) / steps)
"""


def measure(work: Work) -> None:
    """Raises where the one is not ended for memory, or the other does not finish."""
    keep_data_in(work.out)
    settings = settings_for(work.device)
    hog = job_for(
        settings,
        work.device,
        source=HOG.replace("MIB", str(TAKES_MIB[work.device])),
        card_share=SHARE,
        name="hog",
    )
    first = settings.scale.stages[0]
    longer = replace(first, steps=LONGER[work.device] * first.steps)
    neighbour = job_for(settings, work.device, stage=longer, card_share=SHARE, name="neighbour")
    sandbox = sandbox_for(work.device) if work.device == "cuda" else SandboxSettings(memory_gb=CPU_GB)
    ended: dict[str, Trial] = {}
    for job, trial in run_trials([hog, neighbour], workers=2, sandbox=sandbox, device="cuda"):
        ended["hog" if job is hog else "neighbour"] = trial
        work.note(**{"hog" if job is hog else "neighbour": _told(trial)})
    greedy, honest = ended["hog"], ended["neighbour"]
    work.note(neighbour_went_on_s=round(honest.finished_at - greedy.finished_at, 2))
    if greedy.failure is not FailureKind.memory:
        raise RuntimeError(f"what takes more than its share ended as {_told(greedy)}, expected failure memory")
    if not honest.succeeded:
        raise RuntimeError(f"its neighbour ended as {_told(honest)}")


def _told(trial: Trial) -> dict[str, object]:
    failure = trial.failure.value if trial.failure else None
    return {
        "status": trial.status.value,
        "failure": failure,
        "detail": trial.detail[:300],
        "slot_seconds": round(trial.slot_s, 2),
        "loss": trial.loss,
    }
