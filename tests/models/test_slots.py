from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from models.slots import SLOTS, Slot, contract_text, published_source, slot_named


def test_modules_of_the_ray_side_do_not_import_torch():
    code = (
        "import sys, models.scale, models.slots, models.data, models.probes, models.evaluator\n"
        "from models.data import DataSpec\n"
        "bad = {'torch', 'ray', 'duckdb'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in SLOTS.values() for name in slot.baselines])
def test_every_baseline_has_source_that_defines_the_entry(slot: Slot, name: str):
    assert f"class {slot.entry}(nn.Module)" in published_source(slot.name, name)


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(ValueError, match=r"'norm'.*token_mixer"):
        slot_named("norm")
    with pytest.raises(ValueError, match=r"'mamba'.*delta_net"):
        published_source("token_mixer", "mamba")


def test_reference_has_to_be_a_baseline():
    with pytest.raises(ValueError, match="'other'"):
        dataclasses.replace(SLOTS["token_mixer"], reference="other")


def test_a_slot_beside_the_token_mixer_names_the_one_that_the_host_keeps():
    for name, changes in (("token_mixer", {"takes_width": True}), ("channel_mixer", {"token_mixer": None})):
        with pytest.raises(ValueError, match="takes_width is True"):
            dataclasses.replace(SLOTS[name], **changes)


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
def test_a_contract_names_its_entry_and_every_property_of_the_gate(slot: Slot):
    from models.properties import growth

    text = contract_text(slot.name)
    assert f"class {slot.entry}(nn.Module)" in text
    for name in (*slot.properties, *slot.offered):
        assert f"`{name}`" in text
    assert f"T^{slot.cost_exponent}" in text
    assert f"{growth.LENGTHS[0]} and {growth.LENGTHS[-1]}" in text
