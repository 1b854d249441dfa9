"""Fixed records for prompts: a small population as a reading arm would be told of it."""

from __future__ import annotations

from dataclasses import replace

from agents.brief import Brief, Evidence, Failed, Knowledge, Member
from cognition.records import (
    Candidate,
    FailureKind,
    Insight,
    Property,
    Report,
    ReportKind,
    Score,
    Synthesis,
    Trial,
    TrialStatus,
    Verdict,
    candidate_id_of,
    trial_id_of,
)
from models.slots import contract_text

# Fixed, so that prompts do not change with the published mixers.
MIXER = '''"""NAME: one of the published mixers (arXiv 2412.06464)."""

import torch
from torch import nn

from kernels.dispatch import causal_conv


class TokenMixer(nn.Module):
    """x_BTD -> o_BTD, as in NAME."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int = 0, **kwargs: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size, TAPS))  # taps of NAME
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(causal_conv(x, self.weight))
'''


def member(name: str, number: int, loss: float, fitness: float, parents: tuple[str, ...] = ()) -> Member:
    source = MIXER.replace("NAME", name).replace("TAPS", str(number + 2))
    candidate = Candidate(
        candidate_id=candidate_id_of(source),
        number=number,
        arm="llm",
        slot="token_mixer",
        name=name,
        motivation=f"{name}: keep what is worth keeping",
        source=source,
        parent_ids=parents,
        changes=("memory: sum -> delta",) if parents else (),
    )
    trial = Trial(
        trial_id=trial_id_of(candidate.candidate_id, "explore", 0),
        candidate_id=candidate.candidate_id,
        stage="explore",
        seed=0,
        split="validation",
        status=TrialStatus.finished,
        loss=loss,
        benchmark=0.7,
        scores=(Score(name="mqar_accuracy", value=0.7, chance=0.25, num_items=256),),
    )
    report = Report(
        candidate_id=candidate.candidate_id,
        number=number,
        attempt=0,
        kind=ReportKind.passed,
        flops_per_token=310_000.0,
        state_bytes=6400,
    )
    verdict = Verdict(
        candidate_id=candidate.candidate_id, number=number, stage="explore", fitness=fitness, loss=loss, benchmark=0.7
    )
    return Member(candidate=candidate, report=report, trials=(trial,), verdict=verdict)


PARENT = member("gated_delta_net", 3, 1.9612, 0.61)
OTHER = member("retnet", 2, 2.2961, 0.31)
OLD = member("linear_attention", 0, 2.4142, 0.22)
SOURCE = "from torch import nn\n\n\nclass TokenMixer(nn.Module):\n    def forward(self, x):\n        return x.flip(1)\n"
BROKEN = Candidate(
    candidate_id=candidate_id_of(SOURCE),
    number=5,
    arm="llm",
    slot="token_mixer",
    name="mirror",
    motivation="read the sequence from its end",
    source=SOURCE,
)
REFUSED = Report(
    candidate_id=BROKEN.candidate_id,
    number=5,
    attempt=0,
    kind=ReportKind.refused,
    detail="causality: later inputs change outputs before it",
    properties=(
        Property(
            name="causality", passed=False, figure=0.83, limit=1e-5, detail="at T = 65, position 12: moved by 0.83"
        ),
    ),
)
FAILED = Failed(candidate=BROKEN, evidence=Evidence(report=REFUSED))
DIVERGED = Evidence(
    report=replace(REFUSED, kind=ReportKind.passed, properties=()),
    trials=(
        Trial(
            trial_id="x",
            candidate_id=BROKEN.candidate_id,
            stage="explore",
            seed=0,
            split="validation",
            status=TrialStatus.failed,
            failure=FailureKind.nonfinite,
            detail="the training loss is NaN at step 12",
        ),
    ),
)
INSIGHT = Insight(
    insight_id="00112233445566aa",
    candidate_id=PARENT.candidate.candidate_id,
    number=3,
    claim="a gate on the state lowers the loss against the baseline: -0.0690 nats per token [-0.0910, -0.0470]",
    slot="token_mixer",
    stage="explore",
    against="baseline",
    against_id=OLD.candidate.candidate_id,
    effect=-0.069,
    low=-0.091,
    high=-0.047,
    evidence=(PARENT.trials[0].trial_id,),
)


def brief(mode: str = "refine", **fields: object) -> Brief:
    told = Brief(
        slot="token_mixer",
        arm="llm",
        number=9,
        seed=0,
        parents=(PARENT, OTHER),
        references=(OLD,),
        insights=(INSIGHT,),
        mode=mode,
        entry="TokenMixer",
        contract=contract_text("token_mixer"),
        ancestors=(OLD,),
        history=(OLD, OTHER, PARENT),
        failures=(FAILED,),
        broken=FAILED if mode == "repair" else None,
        synthesis=Synthesis(round=1, number=4, text="Decay helps.", works=("decay",), worn_out=("longer filters",)),
        knowledge=(Knowledge(key="2412.06464", title="Gated delta networks", text="Decay and delta rule together."),),
        curves={PARENT.candidate.candidate_id: tuple((step, 5.0 - step / 30) for step in range(10, 101, 10))},
    )
    return replace(told, **fields)  # type: ignore[arg-type]
