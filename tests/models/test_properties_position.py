"""The channel mixer's gate: one position at a time, and nothing of the token mixer's that does not apply."""

from __future__ import annotations

import pytest

from models.backbone import reference_parameters
from models.properties import examine
from models.scale import ModelSize, load_scale
from models.slots import SLOTS, published_source

from .conftest import CHANNEL_TOY, channel_gate, failures

SLOT = SLOTS["channel_mixer"]
FIRST = "super().__init__()"
BODY = "h = self.norm(self.up(x) * F.silu(self.gate(x)))"
HANDED_ON = """
_LAST = []

class ChannelMixer(nn.Module):"""


def test_an_honest_mixer_passes_its_slots_properties_and_carries_no_state(size: ModelSize):
    found = channel_gate(BODY, BODY, size)
    assert found.passed, failures(found)
    assert tuple(item.name for item in found.properties) == SLOT.properties
    assert found.state_bytes == 0
    assert found.ffn_width is not None
    assert found.ffn_width % 8 == 0
    assert found.flops_per_token is not None
    assert len(found.fingerprint) == 88
    assert (len(found.structure), len(found.layout)) == (128, 16)


@pytest.mark.parametrize("name", SLOT.baselines)
def test_baselines_pass_and_fit(name: str):
    size = load_scale("cpu").stages[0].size
    found = examine(published_source(SLOT.name, name), SLOT.name, size, reference_parameters(size, SLOT.name))
    assert failures(found) == {}
    assert found.state_bytes == 0
    assert (found.ffn_width == size.ffn_width) == name.endswith("glu")


@pytest.mark.parametrize(
    "code",
    [
        "x = x + 1e-4 * x.roll(1, 1)",  # causal, and so refused here alone
        "x = x + 1e-9 * x.flip(1)",
        "x = x + 1e-3 * x.mean(0, keepdim=True)",
        "x = x - 1e-3 * x.cumsum(1)",
        "x = x / (1 + 1e-3 * x.shape[1])",
        "x = x + (x.roll(1, 1) if x.shape[1] == 97 else 0)",
        "x = x + (x.roll(1, 0) if x.shape[0] == 5 else 0)",
        "x = x + (1e-2 * x.roll(1, 1) if self.training else 0)",
        "x = x * (1 + 1e-3 * torch.arange(x.shape[1], dtype=x.dtype)[:, None])",
        "x = x + 1e-2 * (x.roll(1, 1) if x.dtype == torch.bfloat16 else 0)",
    ],
)
def test_whatever_looks_beyond_its_position_is_refused(size: ModelSize, code: str):
    found = channel_gate(BODY, f"{code}\n        {BODY}", size)
    assert "position_independence" in failures(found)
    assert found.state_bytes is None


def test_what_one_layer_hands_to_the_next_is_seen(size: ModelSize):
    source = CHANNEL_TOY.replace("\n\nclass ChannelMixer(nn.Module):", HANDED_ON).replace(
        BODY,
        "if self.layer == 0:\n            _LAST[:] = [x]\n"
        "        elif _LAST and _LAST[0].shape == x.shape and _LAST[0].dtype == x.dtype:\n"
        f"            x = x + 0.1 * _LAST[0].roll(1, 1)\n        {BODY}",
    )
    source = source.replace(FIRST, f"{FIRST}; self.layer = layer_idx")
    found = examine(source, SLOT.name, size, reference_parameters(size, SLOT.name), length=64)
    assert "all layers" in failures(found)["position_independence"]


@pytest.mark.parametrize(
    ("name", "old", "new", "detail"),
    [
        ("contract", "class ChannelMixer", "class TokenMixer", "defines no ChannelMixer"),
        ("contract", "super().__init__()", "super().__init__(); width = 16", "let the parameters follow `width`"),
        ("contract", "super().__init__()", "super().__init__(); width = 5 * width", "floor 40"),
        ("shape", "return self.gain * x + self.down(h)", "return self.down(h)[:, :, 1:]", "keep [B, T, D]"),
        ("gradients", "self.gain * x", "self.gain.detach() * x", "reaches gain"),
        ("cost", BODY, f"{BODY}\n        h = h + 0 * (x @ x.mT).sum()", "T^1."),
        ("determinism", BODY, f"{BODY}\n        h = F.dropout(h, 0.1, True)", "evaluation mode"),
        ("state", BODY, f"self.n = getattr(self, 'n', 0) + 1\n        {BODY}\n        h = h * self.n", "from one call"),
    ],
)
def test_the_other_properties_hold_in_this_slot_too(size: ModelSize, name: str, old: str, new: str, detail: str):
    assert detail in failures(channel_gate(old, new, size)).get(name, "")


@pytest.mark.parametrize(
    "code",
    [
        "h = F.dropout(self.up(x), 0.2, self.training)",
        "h = self.up(x).topk(16, -1).values.sum(-1, keepdim=True) * self.up(x) * self.gate(x)",
        "h = self.up(x).float().softmax(-1).to(x.dtype) * self.gate(x)",
    ],
)
def test_what_stays_within_a_position_is_fine(size: ModelSize, code: str):
    found = channel_gate(BODY, f"{BODY}\n        {code}\n        h = self.norm(h * self.gate(x))", size)
    assert failures(found) == {}


@pytest.mark.nightly
def test_an_honest_mixer_passes_the_thorough_examination(size: ModelSize):
    assert failures(channel_gate(BODY, BODY, size, thorough=True)) == {}


def test_the_first_argument_may_have_any_name(size: ModelSize):
    forward = "def forward(self, hidden_states):\n        x = hidden_states"
    assert failures(channel_gate("def forward(self, x):", forward, size)) == {}
