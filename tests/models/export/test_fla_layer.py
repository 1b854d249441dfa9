"""The candidate as a layer of flash-linear-attention's, decoding through its cache."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest
import torch

from models.fla_standin.cache import Cache
from models.slots import TOKEN_MIXER, published_source
from tests.models.export.test_model import exported

D = 32


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("layers")
    exported(root / "bundle", TOKEN_MIXER, published_source(TOKEN_MIXER, "gated_delta_net"), 0)
    sys.path.insert(0, str(root))
    try:
        made = importlib.import_module("bundle.fla_layer").CandidateLayer(hidden_size=D, num_heads=2, layer_idx=1)
    finally:
        sys.path.remove(str(root))
    return made.eval()


def real_cache() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is no GPU
        return importlib.import_module("fla.models.utils").Cache


@torch.no_grad()
@pytest.mark.parametrize("kind", [lambda: Cache, pytest.param(real_cache, marks=pytest.mark.nightly)])
def test_steps_through_a_cache_give_the_parallel_form(layer, kind):
    x_BTD = torch.randn(2, 9, D, generator=torch.Generator().manual_seed(0))
    whole_BTD, attentions, none = layer(x_BTD)
    assert attentions is None
    assert none is None
    cache = kind()()
    first_BTD, _, cache = layer(x_BTD[:, :6], past_key_values=cache, use_cache=True)
    rest = [layer(x_BTD[:, t : t + 1], past_key_values=cache, use_cache=True)[0] for t in range(6, 9)]
    torch.testing.assert_close(torch.cat([first_BTD, *rest], 1), whole_BTD, atol=1e-5, rtol=1e-4)
    assert cache.get_seq_length(1) == 9


@torch.no_grad()
def test_hidden_tokens_are_left_out(layer):
    x_BTD = torch.randn(1, 7, D, generator=torch.Generator().manual_seed(1))
    padded_BTD = torch.cat([torch.full((1, 3, D), 9.0), x_BTD], 1)
    mask_BT = torch.tensor([[0] * 3 + [1] * 7])
    out_BTD, _, _ = layer(padded_BTD, attention_mask=mask_BT)
    torch.testing.assert_close(out_BTD[:, 3:], layer(x_BTD)[0], atol=1e-5, rtol=1e-4)
    assert not out_BTD[:, :3].any()


def test_what_it_cannot_do_is_an_error(layer):
    x_BTD, mask_BT = torch.zeros(1, 4, D), torch.tensor([[0, 1, 1, 1]])
    with pytest.raises(ValueError, match="unpack them"):
        layer(x_BTD, cu_seqlens=torch.tensor([0, 2, 4]))
    with pytest.raises(ValueError, match="decode sequences one by one"):
        layer(x_BTD, attention_mask=mask_BT, past_key_values=Cache(), use_cache=True)
