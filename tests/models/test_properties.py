from __future__ import annotations

import dataclasses
import time

import pytest
import torch

from models.backbone import build, non_embedding_parameters, reference_parameters
from models.loading import load_mixer
from models.properties import Examination, examine
from models.scale import ModelSize, load_scale
from models.slots import SLOTS, baseline_source

from .conftest import TOY, swapped

NAMES = (
    *("contract", "shape", "dtype", "parameters", "finite", "gradients"),
    *("prefix_consistency", "causality", "cost"),
)


def gate(source: str, size: ModelSize) -> Examination:
    target = non_embedding_parameters(build(load_mixer(TOY), size, size.ffn_width, seed=0).state_dict())
    return examine(source, "token_mixer", size, target, length=64)


def failures(examination: Examination) -> dict[str, str]:
    return {item.name: item.detail for item in examination.properties if not item.passed}


def test_an_honest_mixer_passes_every_property(size: ModelSize):
    found = gate(TOY, size)
    assert found.passed
    assert tuple(item.name for item in found.properties) == NAMES
    assert found.ffn_width == 160
    assert found.state_bytes == 512
    assert len(found.fingerprint) == 64
    assert found.num_parameters is not None
    assert found.flops_per_token is not None


BODY = "return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * mean))"
LEAKS = {
    "next token": "value = value + x.roll(-1, 1)",
    "next token, faintly": "value = value + 1e-5 * x.roll(-1, 1)",
    "mean over time": "value = value + 0.1 * value.mean(1, keepdim=True)",
    "norm over time": "value = value / value.norm(dim=1, keepdim=True)",
    "softmax over time": "value = value * torch.softmax(x, 1)",
    "last position only": "value = torch.cat([value[:, :1] + x[:, -1:], value[:, 1:]], 1)",
    "within a chunk of 64": "value = value + F.pad(x, (0, 0, 0, -x.shape[1] % 64)).view(x.shape[0], -1, 64, x.shape[2])"
    ".flip(2).flatten(1, 2)[:, :x.shape[1]]",
    "beyond 512 alone": "value = value + (x.flip(1) if x.shape[1] > 512 else 0)",
    "in training alone": "value = value + (x.flip(1) if self.training else 0)",
    "in evaluation alone": "value = value + (0 if self.training else x.flip(1))",
    "batch normalisation": "value = (value - value.mean((0, 1))) / (1 + value.square().mean((0, 1)))",
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_future_tokens_cannot_change_output(leak: str, size: ModelSize):
    found = failures(gate(swapped(BODY, f"{leak}\n        {BODY}"), size))
    assert {"causality", "prefix_consistency"} & set(found), found


def test_causality_itself_sees_what_no_prefix_shows(size: ModelSize):
    # One length of sequence alone leaks, and prefix_consistency never runs it.
    leak = "value = value + (x.flip(1) if x.shape[1] == 97 else 0)"
    found = gate(swapped(BODY, f"{leak}\n        {BODY}"), size)
    assert set(failures(found)) == {"causality"}
    causality = next(item for item in found.properties if item.name == "causality")
    assert causality.figure is not None
    assert causality.limit is not None
    assert causality.figure > 1000 * causality.limit


def test_dependence_on_length_is_refused(size: ModelSize):
    assert "prefix_consistency" in failures(gate(swapped(BODY, f"value = value / x.shape[1]\n        {BODY}"), size))


def test_fft_filters_are_not_mistaken_for_leaks(size: ModelSize):
    honest = (
        "n = x.shape[1]; taps = torch.exp(-torch.arange(n, dtype=x.dtype) / 9).view(1, n, 1)\n"
        "        value = torch.fft.irfft(torch.fft.rfft(value.float(), 2 * n, 1) "
        "* torch.fft.rfft(taps.float(), 2 * n, 1), 2 * n, 1)[:, :n].to(x.dtype)\n"
    )
    assert failures(gate(swapped(BODY, f"{honest}        {BODY}"), size)) == {}


def test_float32_constants_of_a_mixer_are_allowed(size: ModelSize):
    assert failures(gate(swapped(BODY, f"value = value @ torch.eye(value.shape[-1])\n        {BODY}"), size)) == {}


def test_dropout_is_allowed(size: ModelSize):
    dropped = swapped(BODY, f"value = F.dropout(value, 0.2, self.training)\n        {BODY}")
    assert failures(gate(dropped, size)) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "detail"),
    [
        ("contract", "class TokenMixer", "class Mixer", "defines no TokenMixer"),
        ("contract", "num_heads, layer_idx=0, **kwargs", "num_heads", "TypeError"),
        ("contract", "return 4 * 4 * self.gain.numel()", "return 0.5", "state_bytes"),
        ("shape", BODY, "return self.out(value)[:, :, :-1]", "keep [B, T, D]"),
        ("shape", BODY, "return (x, None)", "return one tensor"),
        ("shape", BODY, "assert x.shape[1] % 2 == 0; return x", "line 22, in forward: assert"),
        ("dtype", BODY, f"{BODY}.double()", "float64"),
        ("parameters", "super().__init__()", "super().__init__(); self.b = nn.Parameter(torch.ones(50000))", "budget"),
        ("finite", BODY, f"return torch.log({BODY[7:]})", "NaN"),
        ("gradients", "super().__init__()", "super().__init__(); self.b = nn.Parameter(torch.ones(8))", "reaches b"),
        ("gradients", BODY, BODY.replace("self.query(x)", "self.query(x).detach()"), "query"),
        ("cost", BODY, f"value = value + 1e-3 * (value @ value.mT).tril() @ value\n        {BODY}", "T^1."),
        ("prefix_consistency", BODY, f"self.n = getattr(self, 'n', 0) + 1; value = value * self.n; {BODY}", ""),
    ],
)  # fmt: skip
def test_each_property_refuses_its_own_violation(size: ModelSize, name: str, old: str, new: str, detail: str):
    found = gate(swapped(old, new), size)
    assert not found.passed
    assert name in failures(found)
    assert detail in failures(found)[name]


def test_a_zero_initialised_gain_has_gradients(size: ModelSize):
    zero_gate = swapped(BODY, "return self.gain * self.out(torch.sigmoid(self.query(x)) * (value + mean))")
    assert failures(gate(zero_gate, size)) == {}


def test_expensive_checks_do_not_start_after_a_failure(size: ModelSize):
    broken = swapped("super().__init__()", "super().__init__(); self.b = nn.Parameter(torch.ones(8))")
    assert [item.name for item in gate(broken, size).properties] == list(NAMES[:6])


def test_examination_leaves_the_random_state_alone(size: ModelSize):
    before = torch.get_rng_state()
    gate(TOY, size)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SLOTS["token_mixer"].baselines)
def test_baselines_pass_the_gate_in_the_time_allowed(name: str):
    size = load_scale("cpu").stages[0].size
    target = reference_parameters(size, "token_mixer")
    source = baseline_source("token_mixer", name)
    examine(source, "token_mixer", dataclasses.replace(size, hidden_size=16), target)  # imports and first calls
    begin = time.process_time()
    found = examine(source, "token_mixer", size, target)
    assert failures(found) == {}
    assert time.process_time() - begin < 3.0
    assert found.state_bytes is not None
