from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.__main__ import main
from models.commands.mixers import named, slot_of
from models.slots import SLOTS, published_source

SLOT = SLOTS["token_mixer"]


def test_list_names_everything_with_its_kind_and_title(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SLOT.published)
    kinds = {line.split()[0]: line.split()[1] for line in lines}
    assert kinds["softmax_attention"] == "ceiling"
    assert kinds["delta_net"] == "reference"
    assert kinds["hier_gate_net"] == "discovery"
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("text", ["gated_delta_net", "gated_deltanet", "Gated-DeltaNet", "GatedDeltaNet"])
def test_names_are_found_however_they_are_written(text: str) -> None:
    found = named(SLOT, text)
    assert found.name == "gated_delta_net"
    assert found.source == published_source("token_mixer", "gated_delta_net")


def test_files_give_their_stem_and_the_class_behind_the_colon(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Other: ...\nclass Mixer: ...\n")
    found = named(SLOT, f"{file}:Mixer")
    assert found.name == "mine"
    assert found.source.endswith("TokenMixer = Mixer\n")


@pytest.mark.parametrize(("text", "message"), [("mamba3", "there are .*mamba2"), ("no.py", "cannot be read")])
def test_what_is_neither_is_answered_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(SLOT, text)


@pytest.mark.parametrize(
    ("source", "entry", "slot"),
    [
        (published_source("channel_mixer", "swiglu"), None, "channel_mixer"),
        (published_source("token_mixer", "retnet"), None, "token_mixer"),
        ("class ChannelMixer: ...\nclass TokenMixer: ...\n", None, "token_mixer"),
        ("class ChannelMixer: ...\nclass TokenMixer: ...\n", "ChannelMixer", "channel_mixer"),
        ("class Layer: ...\n", None, "token_mixer"),
        ("class Layer: ...\nChannelMixer = Layer\n", None, "channel_mixer"),
        ("class (", None, "token_mixer"),
    ],
)
def test_the_class_says_which_slot_a_file_is_for(source: str, entry: str | None, slot: str) -> None:
    assert slot_of(source, entry).name == slot


def test_listing_needs_no_torch() -> None:
    code = "import sys\nfrom models.__main__ import main\nmain(['list'])\nsys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
