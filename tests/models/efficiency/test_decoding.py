"""Shapes: T time, V vocabulary; one sequence."""

from __future__ import annotations

import pytest
import torch

from models.backbone import build
from models.efficiency.decoding import RECOMPUTE, STEP, Decoder
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import SLOTS, TOKEN_MIXER, published_source
from tests.models.conftest import TOY


def _model(source: str, size: ModelSize, slot: str = TOKEN_MIXER) -> torch.nn.Module:
    return build(load_mixer(source, SLOTS[slot].entry), size, size.ffn_width, 0, slot).eval()


@pytest.mark.parametrize("name", ["delta_net", "mamba2", "softmax_attention"])
def test_a_step_behind_a_prefix_gives_what_the_whole_sequence_gives(name: str, size: ModelSize) -> None:
    model = _model(published_source(TOKEN_MIXER, name), size)
    tokens_1T = torch.randint(0, size.vocab_size, (1, 21))
    decoder = Decoder(model, tokens_1T[:, :20])
    decoder.prime()
    with torch.no_grad():
        whole_1V = model(tokens_1T)[:, -1]
    assert decoder.form == STEP
    for _ in range(2):
        decoder.rewind()
        torch.testing.assert_close(decoder.step(tokens_1T[:, 20]), whole_1V, rtol=1e-3, atol=1e-4)


def test_a_channel_mixer_decodes_through_its_hosts_own_states(size: ModelSize) -> None:
    model = _model(published_source("channel_mixer", "geglu"), size, "channel_mixer")
    tokens_1T = torch.randint(0, size.vocab_size, (1, 9))
    decoder = Decoder(model, tokens_1T[:, :8])
    decoder.prime()
    with torch.no_grad():
        torch.testing.assert_close(decoder.step(tokens_1T[:, 8]), model(tokens_1T)[:, -1], rtol=1e-3, atol=1e-4)


def test_without_a_step_the_prefix_is_recomputed_and_no_state_is_claimed(size: ModelSize) -> None:
    model = _model(TOY, size)
    tokens_1T = torch.randint(0, size.vocab_size, (1, 9))
    decoder = Decoder(model, tokens_1T[:, :8])
    decoder.prime()
    assert (decoder.form, decoder.state_bytes) == (RECOMPUTE, None)
    with torch.no_grad():
        torch.testing.assert_close(decoder.step(tokens_1T[:, 8]), model(tokens_1T)[:, -1])


def test_states_of_bounded_size_are_the_same_at_any_length_and_growing_ones_are_not(size: ModelSize) -> None:
    def bytes_at(name: str, length: int) -> int | None:
        decoder = Decoder(_model(published_source(TOKEN_MIXER, name), size), torch.zeros(1, length, dtype=torch.long))
        decoder.prime()
        return decoder.state_bytes

    assert bytes_at("delta_net", 170) == bytes_at("delta_net", 400)
    # keys and values of 32 channels in float32, two layers
    assert bytes_at("softmax_attention", 400) == 2 * 2 * 400 * 32 * 4
