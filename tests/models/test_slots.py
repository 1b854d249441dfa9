from __future__ import annotations

import subprocess
import sys

import pytest

from models.slots import SLOTS, Slot, baseline_source, contract_text, slot_named


def test_modules_of_the_ray_side_do_not_import_torch():
    code = (
        "import sys, models.scale, models.slots, models.data, models.probes, models.evaluator\n"
        "from models.data import DataSpec\n"
        "bad = {'torch', 'ray', 'duckdb'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SLOTS["token_mixer"].baselines)
def test_every_baseline_has_source_that_defines_the_entry(name: str):
    assert f"class {SLOTS['token_mixer'].entry}" in baseline_source("token_mixer", name)


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(ValueError, match=r"'norm'.*token_mixer"):
        slot_named("norm")
    with pytest.raises(ValueError, match=r"'mamba'.*delta_net"):
        baseline_source("token_mixer", "mamba")


def test_reference_has_to_be_a_baseline():
    with pytest.raises(ValueError, match="'other'"):
        Slot(name="s", entry="E", reference="other", baselines=("one",))


def test_contract_names_every_property_of_the_gate():
    from models.properties import PROPERTIES, growth

    text = contract_text("token_mixer")
    for name in PROPERTIES:
        assert f"`{name}`" in text
    assert str(growth.LIMIT) in text
    assert f"{growth.LENGTHS[0]} and {growth.LENGTHS[-1]}" in text
