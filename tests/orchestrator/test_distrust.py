"""A campaign among hostile, leaking, slow, broken and foreign founders ends as ever; SQL says what became of each.

Beside them a scripted researcher, whose attempts go back with their evidence until one holds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.scripted import ScriptedProposer
from cognition.reader import Reader
from orchestrator.campaign import Campaign
from orchestrator.errors import UsageError
from orchestrator.result import Result
from tests.orchestrator.small import PATIENT

MIXER = """
import torch
from torch import nn


class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x):
        FORWARD
        steps = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return self.proj(x.cumsum(1) / steps)
"""
# Only where the campaign trains it: 4 sequences of 32, which no check of the gate runs in training mode. An honest
# training does not come near it, however busy the machine.
SLOW = "if self.training and x.shape[:2] == (4, 32):\n            for _ in range(120000): torch.mm(x[0], x[0].T)"
FLA_STYLE = """
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from fla.modules import FusedRMSNormGated, ShortConvolution
from fla.modules.l2norm import l2_norm
from fla.ops.delta_rule import chunk_delta_rule


class SmallDelta(nn.Module):
    def __init__(self, hidden_size=256, num_heads=2, conv_size=4, layer_idx=None, **kwargs):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.ModuleList([nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(3)])
        self.convs = nn.ModuleList(
            [ShortConvolution(hidden_size, kernel_size=conv_size, activation="silu") for _ in range(3)]
        )
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_norm = FusedRMSNormGated(hidden_size // num_heads)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, hidden_states, attention_mask=None, past_key_values=None, use_cache=False, **kwargs):
        q, k, v = (conv(proj(hidden_states))[0] for proj, conv in zip(self.qkv, self.convs))
        q, k, v = (rearrange(x, "b t (h d) -> b t h d", h=self.num_heads) for x in (q, k, v))
        beta = self.b_proj(hidden_states).sigmoid()
        o, _ = chunk_delta_rule(l2_norm(q), l2_norm(k), v, beta)
        o = self.o_norm(o, rearrange(self.g_proj(hidden_states), "b t (h d) -> b t h d", h=self.num_heads))
        return self.o_proj(rearrange(o, "b t h d -> b t (h d)")), None, past_key_values
"""
FOUNDERS = {
    "hangs": MIXER.replace("FORWARD", "while True: pass"),
    "leaks": MIXER.replace("FORWARD", "x = x + x.mean(1, keepdim=True)"),
    "nan": MIXER.replace("FORWARD", "x = torch.log(x)"),
    "not_python": "class TokenMixer(:",
    "reads_keys": MIXER.replace("import torch\n", "import os, torch\nKEYS = os.environ\n").replace("FORWARD", "pass"),
    "slow": MIXER.replace("FORWARD", SLOW),
    "small_delta": FLA_STYLE,
}
ATTEMPTS = [
    MIXER.replace("FORWARD", "x = x.flip(1)"),
    MIXER.replace("FORWARD", f"x = 2 * x\n        {SLOW}"),
    MIXER.replace("FORWARD", "x = torch.tanh(x)"),
]
BASELINES = ("linear_attention", "retnet", "delta_net", "gated_delta_net")
NUM_BASELINES = len(BASELINES)


@pytest.fixture(scope="module")
def ended(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("founders")
    for name, source in FOUNDERS.items():
        (folder / f"{name}.py").write_text(source)
    campaign = Campaign.compose(
        *("+campaign=linear_attn", "scale=tiny", "data.max_bytes=1500000", "deterministic=true", "tracking=none"),
        *(f"run.root={tmp_path_factory.mktemp('runs')}", "run.name=distrust", "cluster.slots=2"),
        *(f"campaign.founders=[{','.join(BASELINES)},'{folder}']", "budget.candidates=1", "stages.verify.best=1"),
        *("arms.weights.grammar=0", "arms.weights.random=0", "+arms.weights.scripted=1"),
        *PATIENT,
        *("flow.gate_deadline_s=30", "anomalies.slow_factor=20"),
        proposers={"scripted": ScriptedProposer([ATTEMPTS])},
    )
    return campaign.run()


def rows(result: Result, sql: str) -> dict[str, tuple[object, ...]]:
    return {str(row[0]): tuple(row[1:]) for row in Reader(result.folder).query(sql).rows}


def test_the_campaign_does_not_notice(ended: Result) -> None:
    assert ended.stopped_by is None
    assert ended.claims
    judged = {member.candidate.name for member in ended.members if member.fitness is not None}
    assert {"delta_net", "gated_delta_net", "small_delta"} <= judged


def test_sql_has_the_right_report_for_each_founder(ended: Result) -> None:
    found = rows(
        ended,
        "SELECT candidates.name, reports.kind, coalesce(first(properties.name) FILTER (NOT properties.passed), '') "
        "FROM candidates JOIN reports USING (candidate_id) LEFT JOIN properties USING (candidate_id) "
        "WHERE arm = 'founder' GROUP BY ALL",
    )
    assert found == {
        "hangs": ("timeout", ""),
        "leaks": ("refused", "causality"),
        "nan": ("refused", "finite"),
        "not_python": ("refused", "policy"),
        "reads_keys": ("refused", "policy"),
        "slow": ("passed", ""),
        "small_delta": ("passed", ""),
    }
    trials = rows(
        ended,
        "SELECT name, status, failure, loss IS NULL FROM trials JOIN candidates USING (candidate_id) "
        "WHERE arm = 'founder'",
    )
    assert trials == {"slow": ("stopped", "slow", True), "small_delta": ("finished", None, False)}


def test_what_fails_goes_back_with_its_evidence_until_it_holds(ended: Result) -> None:
    attempts = rows(
        ended,
        "SELECT attempt, candidate_id, repairs, arm FROM candidates WHERE arm = 'scripted' ORDER BY attempt",
    )
    (first, none, _), (second, repairs_first, _), (third, repairs_second, _) = attempts.values()
    assert (none, repairs_first, repairs_second) == (None, first, second)
    reports = rows(ended, f"SELECT attempt, kind, detail FROM reports WHERE number = {NUM_BASELINES + len(FOUNDERS)}")
    assert [report[0] for report in reports.values()] == ["refused", "passed", "passed"]
    assert "change outputs before it" in str(reports["0"][1])
    trials = rows(
        ended, "SELECT attempt, status, failure FROM trials JOIN candidates USING (candidate_id) WHERE arm = 'scripted'"
    )
    assert trials["1"] == ("stopped", "slow")
    assert trials["2"] == ("finished", None)
    assert third in {member.candidate.candidate_id for member in ended.members if member.fitness is not None}


def test_what_was_in_force_is_on_record(ended: Result) -> None:
    (detail,) = rows(ended, "SELECT kind, detail FROM events WHERE kind = 'sandbox'")["sandbox"]
    assert "own_session" in str(detail)


def test_curves_show_canary_and_memory(ended: Result) -> None:
    tasks = rows(ended, "SELECT task, min(peak_bytes) FROM metrics GROUP BY task")
    assert set(tasks) == {"canary", "text", "mqar"}
    assert int(str(tasks["text"][0])) > 1e7
    (scores,) = Reader(ended.folder).query("SELECT scores FROM trials WHERE status = 'finished' LIMIT 1").rows[0]
    assert "canary_excess" in {score["name"] for score in json.loads(scores)}


def test_an_arm_without_a_proposer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"known arms are .*grammar, random, inbox, transcript, mine"):
        Campaign.compose(
            "+campaign=linear_attn",
            f"run.root={tmp_path}",
            "+arms.weights.scripted=1",
            proposers={"mine": ScriptedProposer([["x"]])},
        )
