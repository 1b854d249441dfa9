"""Who starts a campaign, and what becomes of files that are no founders."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.slots import SLOTS, published_source
from orchestrator.config import compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.founders import BASELINE_ARM, FOUNDER_ARM, founder, founder_names

SLOT = SLOTS["token_mixer"]
FLA = """
from torch import nn

class Norm(nn.Module):
    def forward(self, x):
        return x

class GatedThing(nn.Module):
    def forward(self, hidden_states, attention_mask=None, **kwargs):
        return hidden_states, None, None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.py").write_text(FLA)
    (tmp_path / "a.py").write_text("class TokenMixer: pass")
    (tmp_path / "__init__.py").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_the_reference_comes_first_and_folders_are_opened_up_by_name(folder: Path) -> None:
    names = founder_names(SLOT, ["retnet", str(folder), "baselines", str(folder / "a.py")])
    assert names[:2] == ("delta_net", "retnet")
    assert names[2:4] == (str(folder / "a.py"), str(folder / "b.py"))
    assert set(names[4:]) == set(SLOT.baselines) - {"delta_net", "retnet"}


def test_discoveries_found_a_campaign_beside_the_reference() -> None:
    names = founder_names(SLOT, ["discoveries"])
    assert names == ("delta_net", *SLOT.discoveries)
    assert len(names) == 6
    found = founder("token_mixer", "hier_gate_net", number=4, attempt=0)
    assert (found.arm, found.name) == (FOUNDER_ARM, "hier_gate_net")
    assert found.source == published_source("token_mixer", "hier_gate_net")


def test_what_only_serves_as_a_ceiling_founds_nothing() -> None:
    with pytest.raises(ValueError, match="'softmax_attention': no name"):
        founder_names(SLOT, ["softmax_attention"])


def test_a_file_becomes_a_candidate_whose_entry_the_slot_can_find(folder: Path) -> None:
    found = founder("token_mixer", str(folder / "b.py"), number=4, attempt=0)
    assert (found.arm, found.name, found.number) == (FOUNDER_ARM, "b", 4)
    assert found.source.startswith(FLA)
    assert "TokenMixer = GatedThing" in found.source
    named = founder("token_mixer", f"{folder / 'b.py'}:Norm", number=4, attempt=0)
    assert "TokenMixer = Norm" in named.source
    baseline = founder("token_mixer", "retnet", number=1, attempt=0)
    assert (baseline.arm, baseline.source) == (BASELINE_ARM, published_source("token_mixer", "retnet"))


@pytest.mark.parametrize("text", ["def broken(", "x = 1", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
def test_what_is_wrong_with_a_files_text_is_left_to_the_gate(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    assert founder("token_mixer", str(tmp_path / "odd.py"), number=4, attempt=0).source == text


@pytest.mark.parametrize("name", ["transformer", "nowhere.py", "{folder}/notes.txt", "{folder}/empty"])
def test_what_is_no_founder_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    name = name.format(folder=folder)
    with pytest.raises(UsageError, match=r"campaign\.founders has"):
        settings_from(compose(["+campaign=linear_attn", f"campaign.founders=[baselines,'{name}']"]))


def test_a_folder_that_changes_is_another_configuration(folder: Path) -> None:
    overrides = ["+campaign=linear_attn", f"campaign.founders=[baselines,'{folder}']"]
    before = settings_from(compose(overrides)).campaign.founders
    (folder / "aa.py").write_text("x = 1")
    assert settings_from(compose(overrides)).campaign.founders != before


def test_a_file_that_has_gone_is_named(folder: Path) -> None:
    (folder / "a.py").unlink()
    with pytest.raises(UsageError, match=r"a\.py cannot be read"):
        founder("token_mixer", str(folder / "a.py"), number=4, attempt=0)
