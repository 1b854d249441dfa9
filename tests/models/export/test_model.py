"""Exported folders: loaded by transformers alone, in an interpreter that has nothing of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.backbone import build
from models.data.tokenization import BYTES
from models.entry import with_entry
from models.export.copies import copies
from models.export.folder import Trained, write_model
from models.fla_standin import installed
from models.loading import load_mixer
from models.scale import ModelSize
from models.slots import CHANNEL_MIXER, TOKEN_MIXER, published_source, slot_named

FRESH = Path(__file__).parent / "fresh.py"
FLA_STYLE = Path(__file__).parents[1] / "fla_style" / "gated_delta.py"

# Random buffers that are not saved, a plain tensor, no step form: what from_pretrained may not lose.
UNSAVED = """
import torch
from torch import nn
from kernels import dispatch as ops

class TokenMixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx=0, **kwargs):
        super().__init__()
        self.taps = nn.Parameter(torch.randn(hidden_size, 4))
        self.register_buffer("signs", torch.randn(hidden_size).sign(), persistent=False)
        self.register_buffer("scale", torch.full((hidden_size,), 0.5))
        self.shift = torch.linspace(0, 1, hidden_size)

    def forward(self, x):
        return ops.causal_conv(x * self.signs + self.shift, self.taps) * self.scale
"""

SUBJECTS = {
    "native": (TOKEN_MIXER, published_source(TOKEN_MIXER, "gated_delta_net"), 0),
    "paths": (TOKEN_MIXER, published_source(TOKEN_MIXER, "path_gate_fusion_net"), 2),
    "fla_style": (TOKEN_MIXER, with_entry(FLA_STYLE.read_text()), 0),
    "channel": (CHANNEL_MIXER, published_source(CHANNEL_MIXER, "swiglu"), 2),
    "unsaved": (TOKEN_MIXER, UNSAVED, 0),
}


def exported(folder: Path, slot: str, source: str, softmax_every: int) -> None:
    """A model with weights away from their beginnings, written; its logits beside it."""
    size = ModelSize(
        num_layers=2, hidden_size=32, num_heads=2, ffn_width=64, vocab_size=256, softmax_every=softmax_every
    )
    with installed():
        model = build(load_mixer(source, slot_named(slot).entry), size, 64, seed=7, slot=slot).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            tokens_BT = torch.arange(45).repeat(2, 1) * torch.tensor([[1], [3]]) % 251
            np.save(folder.with_suffix(".npy"), model(tokens_BT).numpy())
    write_model(
        folder,
        Trained(
            source=source,
            candidate_id="0" * 16,
            slot=slot,
            size=size,
            ffn_width=64,
            seed=7,
            length=64,
            weights={name: value.numpy() for name, value in model.state_dict().items()},
            tokenizer=BYTES,
        ),
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    root = tmp_path_factory.mktemp("exported")
    for name, (slot, source, softmax_every) in SUBJECTS.items():
        exported(root / name, slot, source, softmax_every)
    environment = {"HF_HOME": str(root / "hf"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"], "HOME": str(root)}
    command = [sys.executable, "-P", str(FRESH), *(str(root / name) for name in SUBJECTS)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {Path(path).name: each for path, each in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("name", SUBJECTS)
def test_transformers_alone_gives_the_logits_that_were_trained(found, name):
    assert found[name]["gap"] < 1e-5
    assert found[name]["saved_gap"] == 0
    assert found[name]["loss_gap"] < 1e-5


@pytest.mark.parametrize("name", SUBJECTS)
def test_prefixes_and_padded_sequences_give_what_they_give_alone(found, name):
    assert found[name]["prefix_gap"] < 1e-4
    assert found[name]["padded_gap"] < 1e-4
    assert "holes" in found[name]["refused"]


@pytest.mark.parametrize("name", SUBJECTS)
def test_generation_is_the_same_with_a_state_in_a_batch_and_by_recomputing(found, name):
    assert found[name]["generated"]
    assert found[name]["batched"]
    assert found[name]["beams"][0] == 1


def test_steps_equal_the_parallel_form_and_only_where_there_are_steps(found):
    assert found["unsaved"]["step_gap"] is None
    assert all(each["step_gap"] < 1e-4 for name, each in found.items() if name != "unsaved")


def test_bytes_are_tokens_and_no_text_spells_a_special_one(found):
    assert all(each["bytes"] for each in found.values())


def test_a_folder_can_be_read_by_others(tmp_path):
    exported(tmp_path / "shared", *SUBJECTS["unsaved"])
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "shared").iterdir())


def test_every_file_of_ours_that_a_candidate_uses_comes_along_and_is_named():
    made = {copy.name: copy for copy in copies(SUBJECTS["native"][1], ["models.export.parts.modeling"])}
    assert made["kernels_gated_delta_rule.py"].origin == "kernels/gated_delta_rule.py"
    assert "models_fla_standin_names.py" not in made  # nothing of it names fla
    for copy in made.values():
        compile(copy.text, copy.name, "exec")
        assert "\nfrom kernels" not in copy.text
        assert "\nfrom models" not in copy.text


def test_imports_within_blocks_and_of_triton_stay_valid():
    source = (
        "import kernels.dispatch as ops\n"
        "def late():\n    from kernels.dispatch import (\n        gla,\n        kda as k,\n    )\n"
        "    return gla, k, 'é'; import math\n"
        "try:\n    import triton\nexcept ImportError:\n    triton = None\n"
        "from fla.modules import RMSNorm as Norm\n"
    )
    text = next(copy.text for copy in copies(source, []) if copy.name == "candidate.py")
    compile(text, "candidate.py", "exec")
    assert "from . import kernels_dispatch as ops" in text
    assert "    from .kernels_dispatch import gla, kda as k\n    return" in text
    assert "Norm = _fla_name('fla.modules', 'RMSNorm')" in text


def test_what_cannot_be_made_relative_is_named():
    with pytest.raises(ValueError, match=r"from fla.ops import \*.*name what is imported"):
        copies("from fla.ops import *\n", [])
