"""The gate's properties one by one: each refuses its own violation, with what helps to repair it."""

from __future__ import annotations

import pytest

from models.scale import ModelSize

from .conftest import TOY, failures, gate, swapped

BODY = "return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * mean))"
FIRST = "super().__init__()"
IMPORT = "import torch.nn.functional as F"
MULTIPLIED = "value = torch.ones(x.shape[1], x.shape[1]).tril().to(x.dtype) @ (x * 3).exp()"


@pytest.mark.parametrize(
    ("name", "old", "new", "detail"),
    [
        ("contract", "class TokenMixer", "class Mixer", "defines no TokenMixer"),
        ("contract", "num_heads, layer_idx=0, **kwargs", "num_heads", "TypeError"),
        ("contract", "return 4 * 4 * self.gain.numel()", "return 0.5", "state_bytes"),
        ("contract", FIRST, f"{FIRST}; self.b = nn.Parameter(torch.ones(50000))", "budget"),
        ("contract", FIRST, f"{FIRST}; assert layer_idx == 0", "AssertionError"),
        ("shape", BODY, "return self.out(value)[:, :, :-1]", "keep [B, T, D]"),
        ("shape", BODY, "return (x, None)", "return one tensor"),
        ("shape", BODY, "assert x.shape[1] % 2 == 0; return x", "line 22, in forward: assert"),
        ("shape", BODY, f"self.late = nn.Parameter(torch.ones(8)); {BODY}", "forward made late: build"),
        ("dtype", BODY, f"{BODY}.double()", "float64"),
        ("dtype", BODY, f"{BODY}.double() if self.training else x", "float64"),
        ("dtype", BODY, f"{BODY}.float() if x.dtype == torch.bfloat16 else {BODY[7:]}", ".to(x.dtype)"),
        ("finite", BODY, f"return torch.log({BODY[7:]})", "NaN"),
        ("finite", BODY, f"{BODY} / (0 if x.dtype == torch.bfloat16 else 1)", "bfloat16"),
        ("gradients", FIRST, f"{FIRST}; self.b = nn.Parameter(torch.ones(8))", "reaches b"),
        ("gradients", BODY, BODY.replace("self.query(x)", "self.query(x).detach()"), "query"),
        ("causality", BODY, f"{MULTIPLIED}; {BODY}", "masked_fill"),
        ("causality", BODY, f"value = value + x.mean(0, keepdim=True).flip(1); {BODY}", "limit"),
        ("cost", BODY, f"value = value + 1e-3 * (value @ value.mT).tril() @ value\n        {BODY}", "T^1."),
        ("prefix_consistency", BODY, f"value = value / x.shape[1]; {BODY}", "depend on the sequence's length"),
        ("batch_independence", BODY, f"value = value - value.mean(0, keepdim=True); {BODY}", "over the batch"),
        ("state", BODY, f"self.n = getattr(self, 'n', 0) + 1; value = value * self.n; {BODY}", "from one call to the"),
        ("determinism", BODY, f"value = F.dropout(value, 0.1, True); {BODY}", "evaluation mode"),
        ("determinism", BODY, f"torch.manual_seed(1); {BODY}", "manual_seed"),
        ("determinism", FIRST, f"{FIRST}; torch.manual_seed(7)", "manual_seed"),
    ],
)  # fmt: skip
def test_each_property_refuses_its_own_violation(size: ModelSize, name: str, old: str, new: str, detail: str):
    found = gate(swapped(old, new), size)
    assert not found.passed
    assert name in failures(found)
    assert detail in failures(found)[name]


@pytest.mark.parametrize(
    ("imported", "drawn"),
    [
        ("import random", "random.random()"),
        ("import numpy as np", "float(np.random.rand())"),
        ("import time", "time.perf_counter() % 1"),
    ],
)
def test_outputs_that_draw_from_elsewhere_are_refused(size: ModelSize, imported: str, drawn: str):
    source = swapped(BODY, f"value = value * (1 + 1e-3 * {drawn}); {BODY}").replace(IMPORT, f"{IMPORT}\n{imported}")
    assert "determinism" in failures(gate(source, size))


def test_initial_values_are_drawn_from_torch(size: ModelSize):
    source = swapped("torch.zeros(hidden_size)", "torch.tensor(np.random.rand(hidden_size), dtype=torch.float32)")
    found = failures(gate(source.replace(IMPORT, f"{IMPORT}\nimport numpy as np"), size))
    assert "built under one torch seed" in found["determinism"]


def test_the_state_of_training_does_not_reach_evaluation(size: ModelSize):
    anneal = "self.steps += int(self.training)\n        value = value * (1 + self.steps / 1000)"
    source = swapped(FIRST, f"{FIRST}; self.steps = 0").replace(BODY, f"{anneal}\n        {BODY}")
    assert "state" in failures(gate(source, size))


def test_a_cache_of_positions_is_no_state(size: ModelSize):
    cached = (
        "if getattr(self, 'table', None) is None or len(self.table) < x.shape[1] or self.table.dtype != x.dtype:\n"
        "            self.table = torch.arange(x.shape[1], dtype=x.dtype).cos()\n"
        f"        value = value * self.table[:x.shape[1], None]\n        {BODY}"
    )
    assert failures(gate(swapped(BODY, cached), size)) == {}


def test_dropout_is_allowed(size: ModelSize):
    dropped = swapped(BODY, f"value = F.dropout(value, 0.2, self.training)\n        {BODY}")
    assert failures(gate(dropped, size)) == {}


def test_a_zero_initialised_gain_has_gradients(size: ModelSize):
    zero_gate = swapped(BODY, "return self.gain * self.out(torch.sigmoid(self.query(x)) * (value + mean))")
    assert failures(gate(zero_gate, size)) == {}


def test_a_loop_over_time_passes_and_is_reported(size: ModelSize):
    loop = f"value = torch.stack([row + 0.0 for row in value.unbind(1)], 1); {BODY}"
    found = {item.name: item for item in gate(swapped(BODY, loop), size).properties}
    assert found["cost"].passed
    assert "Python loop over time" in found["cost"].detail
    chunks = f"value = torch.cat([part + 0.0 for part in value.split(32, 1)], 1); {BODY}"
    found = {item.name: item for item in gate(swapped(BODY, chunks), size).properties}
    assert "loop" not in found["cost"].detail
    assert "loop" not in {item.name: item for item in gate(TOY, size).properties}["cost"].detail


def test_a_padding_mask_is_given_where_it_is_taken(size: ModelSize):
    masked = swapped("def forward(self, x):", "def forward(self, x, attention_mask=None):").replace(
        BODY, f"value = value + (0 if attention_mask is None else x[:, -1:]); {BODY}"
    )
    assert "attention_mask" in failures(gate(masked, size))["batch_independence"]


def test_what_is_added_and_taken_away_again_is_round_off_and_no_leak(size: ModelSize):
    exclusive = "products = value * value; value = products.cumsum(1) - products"
    assert failures(gate(swapped(BODY, f"{exclusive}\n        {BODY}"), size)) == {}
