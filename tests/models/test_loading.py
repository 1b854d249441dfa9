from __future__ import annotations

import inspect

import pytest
import torch

from models.loading import LoadError, candidate_traceback, load_mixer

from .conftest import TOY


def test_a_candidate_loads_and_runs():
    mixer = load_mixer(TOY)(16, 2, layer_idx=1)
    assert mixer(torch.randn(2, 5, 16)).shape == (2, 5, 16)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class TokenMixer(:", "SyntaxError"),
        ("import torch\n1 / 0", "line 2, in <module>: 1 / 0"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("x = 1", "defines no TokenMixer"),
        ("class TokenMixer:\n    pass", "subclass of torch.nn.Module"),
    ],
)
def test_unusable_source_is_refused_with_its_own_lines(source: str, message: str):
    with pytest.raises(LoadError, match=message):
        load_mixer(source)


def test_traceback_holds_only_lines_of_the_candidate():
    source = TOY.replace("value = F.conv1d(", "value = F.conv1d(x.reshape(7, 7), ")
    mixer = load_mixer(source)(16, 2)
    with pytest.raises(RuntimeError) as caught:
        mixer(torch.randn(2, 5, 16))
    text = candidate_traceback(caught.value)
    assert "in forward: value = F.conv1d(x.reshape(7, 7)" in text
    assert "site-packages" not in text
    assert len(text.splitlines()) <= 4


def test_dataclasses_and_inspection_work_inside_a_candidate():
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Options:\n    taps: int = 4\n"
        "class TokenMixer(nn.Linear):\n"
        "    def __init__(self, hidden_size, num_heads, layer_idx=0):\n"
        "        super().__init__(hidden_size, hidden_size, bias=Options().taps > 4)\n"
    )
    assert load_mixer(source)(8, 1).bias is None
    assert "Options().taps" in inspect.getsource(load_mixer(source).__init__)


def test_flash_linear_attention_style_is_adapted():
    source = (
        "from torch import nn\n"
        "class Layer(nn.Module):\n"
        "    def __init__(self, hidden_size, num_heads, layer_idx=None, **kwargs):\n"
        "        super().__init__()\n        self.proj = nn.Linear(hidden_size, hidden_size)\n"
        "    def forward(self, hidden_states, attention_mask=None, use_cache=False, **kwargs):\n"
        "        return self.proj(hidden_states), None, None\n"
    )
    mixer = load_mixer(source, "Layer")(8, 1)
    assert mixer(torch.randn(1, 3, 8)).shape == (1, 3, 8)
    assert set(mixer.state_dict()) == {"proj.weight", "proj.bias"}
