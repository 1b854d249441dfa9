"""The gate as a whole: what runs, in which order, and what it leaves behind."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from models.backbone import reference_parameters
from models.properties import examine
from models.scale import ModelSize, load_scale
from models.slots import SLOTS, published_source

from .conftest import TOY, failures, gate, swapped

BODY = "return self.out(torch.sigmoid(self.query(x)) * (value + self.gain * mean))"
NEXT_TOKEN = swapped(BODY, f"value = value + x.roll(-1, 1)\n        {BODY}")


def test_an_honest_mixer_passes_every_property(size: ModelSize):
    found = gate(TOY, size)
    assert found.passed
    assert tuple(item.name for item in found.properties) == SLOTS["token_mixer"].properties  # it offers no `step`
    assert found.ffn_width == 160
    assert found.state_bytes == 512
    assert len(found.fingerprint) == 88
    assert (len(found.structure), len(found.layout)) == (128, 16)
    assert found.num_parameters is not None
    assert found.flops_per_token is not None


def test_every_comparison_reports_figure_and_limit(size: ModelSize):
    found = {item.name: item for item in gate(TOY, size).properties}
    for name in (
        *("contract", "gradients", "causality", "batch_independence"),
        *("prefix_consistency", "cost", "state"),
    ):
        assert found[name].figure is not None, name
        assert found[name].limit is not None, name
        assert abs(found[name].figure or 0) <= found[name].limit, name


def test_causality_itself_sees_what_no_prefix_shows(size: ModelSize):
    # One length of sequence alone leaks, and prefix_consistency never runs it.
    leak = "value = value + (x.flip(1) if x.shape[1] == 97 else 0)"
    found = gate(swapped(BODY, f"{leak}\n        {BODY}"), size)
    assert set(failures(found)) == {"causality"}
    causality = next(item for item in found.properties if item.name == "causality")
    assert causality.figure is not None
    assert causality.limit is not None
    assert causality.figure > 1000 * causality.limit
    assert "at length 97" in causality.detail


@pytest.mark.parametrize("faint", ["1e-5", "1e-8", "1e-10"])
def test_float64_tells_the_faintest_leak(size: ModelSize, faint: str):
    found = failures(gate(swapped(BODY, f"value = value + {faint} * x.roll(-1, 1)\n        {BODY}"), size))
    assert "float64" in found["causality"]


@pytest.mark.parametrize("cast", ["float()", "bfloat16()", "to(torch.bfloat16)", "type(torch.float32)", "half()"])
def test_casts_of_the_mixer_cover_no_leak(size: ModelSize, cast: str):
    leak = f"value = value.{cast}.to(x.dtype) + 1e-7 * x.flip(1)"
    found = failures(gate(swapped(BODY, f"{leak}\n        {BODY}"), size))
    assert "float64" in found["causality"]


def test_a_leak_is_named_beside_other_failures(size: ModelSize):
    unused = "super().__init__(); self.b = nn.Parameter(torch.ones(8))"
    found = gate(NEXT_TOKEN.replace("super().__init__()", unused), size)
    assert {"gradients", "causality"} <= set(failures(found))
    assert "cost" not in {item.name for item in found.properties}


def test_a_mixer_over_budget_is_examined_for_leaks_too(size: ModelSize):
    large = "super().__init__(); self.b = nn.Parameter(torch.ones(50000))"
    assert {"contract", "causality"} <= set(failures(gate(NEXT_TOKEN.replace("super().__init__()", large), size)))


def test_costly_checks_do_not_start_after_a_failure(size: ModelSize):
    broken = swapped("super().__init__()", "super().__init__(); self.b = nn.Parameter(torch.ones(8))")
    names = [item.name for item in gate(broken, size).properties]
    assert "cost" not in names
    assert {"causality", "batch_independence", "prefix_consistency", "determinism", "state"} <= set(names)


def test_nothing_runs_where_nothing_can_be_built_or_shaped(size: ModelSize):
    assert [item.name for item in gate("import nothing_of_that_name", size).properties] == ["contract"]
    flat = swapped(BODY, "return x[0]")
    assert [item.name for item in gate(flat, size).properties] == ["contract", "shape"]


def test_outputs_that_are_not_finite_are_not_compared(size: ModelSize):
    names = [item.name for item in gate(swapped(BODY, f"return torch.log({BODY[7:]})"), size).properties]
    assert names == ["contract", "shape", "dtype", "finite", "gradients"]


def test_only_the_thorough_examination_runs_long_sequences(size: ModelSize):
    late = swapped(BODY, f"value = value + (x.flip(1) if x.shape[1] >= 2048 else 0)\n        {BODY}")
    assert gate(late, size).passed
    found = failures(gate(late, size, thorough=True))
    assert {"causality", "prefix_consistency"} <= set(found)


def test_an_honest_mixer_passes_the_thorough_examination(size: ModelSize):
    assert failures(gate(TOY, size, thorough=True)) == {}


def test_the_same_text_is_examined_in_the_same_way(size: ModelSize):
    torch.manual_seed(5)
    first = gate(TOY, size)
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    assert gate(TOY, size) == first


def test_examination_leaves_the_process_as_it_was(size: ModelSize):
    careless = "torch.set_default_dtype(torch.float64); torch.manual_seed(3); torch.set_grad_enabled(False)"
    careless += "; torch.set_num_threads(2)"
    source = swapped(
        "class TokenMixer", f"import numpy, random\nnumpy.random.seed(1)\nrandom.seed(1)\n{careless}\nraise ValueError"
    )
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert "ValueError" in failures(gate(source, size))["contract"]
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", SLOTS["token_mixer"].baselines)
def test_baselines_pass_the_gate(name: str):
    size = load_scale("cpu").stages[0].size
    target = reference_parameters(size, "token_mixer")
    source = published_source("token_mixer", name)
    found = examine(source, "token_mixer", size, target)
    assert failures(found) == {}
    assert found.state_bytes is not None
