from __future__ import annotations

import inspect

import pytest
import torch

from models.fla_style import LoadError
from models.loading import candidate_traceback, load_mixer

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


FLA_STYLE = """
import torch
from torch import nn
class Layer(nn.Module):
    def __init__(self, mode="chunk", hidden_size=1024, num_heads=4, head_dim=256, layer_idx=None, **kwargs):
        super().__init__()
        self.given = (mode, hidden_size, num_heads, head_dim, layer_idx, kwargs)
        self.layer_idx = layer_idx
        self.proj = nn.Linear(hidden_size, hidden_size)
    def forward(self, hidden_states, attention_mask=None, past_key_values=None, use_cache=False, **kwargs):
        if attention_mask is not None:
            hidden_states = hidden_states * attention_mask.unsqueeze(-1)
        total = hidden_states.cumsum(1)
        if past_key_values is not None:
            if len(past_key_values) > self.layer_idx:
                total = total + past_key_values[self.layer_idx]["recurrent_state"]
            past_key_values.update(recurrent_state=total[:, -1:], layer_idx=self.layer_idx, offset=total.shape[1])
        return self.proj(total), None, past_key_values
"""


def fla_style(old: str = "", new: str = "") -> str:
    assert old in FLA_STYLE
    return FLA_STYLE.replace(old, new) if old else FLA_STYLE


def test_flash_linear_attention_style_is_adapted():
    mixer = load_mixer(fla_style(), "Layer")(8, 2, layer_idx=3)
    assert mixer.given == ("chunk", 8, 2, 4, 3, {})
    assert set(mixer.state_dict()) == {"proj.weight", "proj.bias"}
    x = torch.randn(2, 5, 8)
    assert mixer(x).shape == (2, 5, 8)
    mask = torch.tensor([[1, 1, 0, 0, 0]]).expand(2, -1)
    assert torch.equal(mixer(x, attention_mask=mask), mixer(x * mask.unsqueeze(-1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden_size=1024", "d_model=None, hidden_size=1024"),
        ("hidden_size=1024, num_heads=4", "n_heads=4, hidden_size=8, num_heads=7"),  # the first of the list is used
        ("hidden_size=1024", "expand_v=2, hidden_size=None"),
    ],
)
def test_constructor_arguments_go_by_name(old: str, new: str):
    assert load_mixer(fla_style(old, new), "Layer")(8, 2, layer_idx=1).given == ("chunk", 8, 2, 4, 1, {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hidden_size=1024", "d_model=1024"),
        ("num_heads=4", "num_attention_heads=4"),
        ("num_heads=4", "n_heads=4"),
    ],
)
def test_constructors_may_use_other_names_for_width_and_heads(old: str, new: str):
    name, first = new.partition("=")[0], old.partition("=")[0]
    source = fla_style(old, new).replace("super().__init__()", f"super().__init__(); {first} = {name}")
    assert load_mixer(source, "Layer")(8, 2, layer_idx=1).given == ("chunk", 8, 2, 4, 1, {})


def test_a_constructor_that_hands_on_its_keywords_gets_them():
    source = fla_style() + "class Small(Layer):\n    def __init__(self, *args, **kwargs):\n"
    source += "        super().__init__(*args, mode='fused_recurrent', **kwargs)\n"
    assert load_mixer(source, "Small")(8, 2, layer_idx=1).given == ("fused_recurrent", 8, 2, 256, 1, {})


def test_arguments_that_the_host_does_not_have_are_refused_by_name():
    source = fla_style("self, mode", "self, config, rank, *, window, mode")
    with pytest.raises(LoadError, match=r"Layer needs the arguments config, rank, window.*give them defaults"):
        load_mixer(source, "Layer")


def test_step_decodes_through_the_layers_cache():
    mixer = load_mixer(fla_style(), "Layer")(8, 2, layer_idx=2)
    x = torch.randn(2, 6, 8)
    outs, states = [], [None]
    for x_BD in x.unbind(1):
        y, state = mixer.step(x_BD, states[-1])
        outs.append(y)
        states.append(state)
    assert torch.allclose(torch.stack(outs, 1), mixer(x), atol=1e-6)
    again, _ = mixer.step(x[:, 3], states[3])  # a state stays what it was when a later step goes on from it
    assert torch.equal(again, outs[3])


def test_step_is_offered_only_where_the_layer_keeps_states():
    assert not hasattr(load_mixer(fla_style("use_cache=False, ", ""), "Layer")(8, 2), "step")
    forgetful = load_mixer(fla_style("past_key_values.update(", "dict("), "Layer")(8, 2)
    with pytest.raises(NotImplementedError, match="never updates"):
        forgetful.step(torch.randn(2, 8))
    own = load_mixer(fla_style() + "    def step(self, x, state=None):\n        return x, 7\n", "Layer")(8, 2)
    assert own.step(1) == (1, 7)


def test_a_class_of_our_contract_is_left_alone():
    assert load_mixer(TOY).__mro__[1].__name__ == "Module"
