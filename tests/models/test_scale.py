from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from models.scale import SCALE_FOLDER, ModelSize, ProbeSpec, Scale, load_scale, scale_from_mapping


def mapping(name: str = "tiny") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((SCALE_FOLDER / f"{name}.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["cpu", "tiny"])
def test_scale_files_load_under_their_own_name(name: str):
    scale = load_scale(name)
    assert scale.name == name
    assert scale.stages


def test_shipped_scales_explore_on_validation_and_verify_on_heldout():
    for name in ("cpu", "tiny"):
        scale = load_scale(name)
        assert [(stage.name, stage.split) for stage in scale.stages] == [
            ("explore", "validation"),
            ("verify", "heldout"),
        ]


def test_unknown_scale_names_those_that_exist():
    with pytest.raises(ValueError, match=r"'huge'.*cpu.*tiny"):
        load_scale("huge")


def test_verification_cannot_reuse_an_exploration_seed():
    values = mapping()
    values["stages"]["verify"]["seeds"] = [101, 0]
    with pytest.raises(ValueError, match=r"share seeds \[0\]"):
        scale_from_mapping(values)


def test_stages_of_one_name_are_refused():
    stage = load_scale("tiny").stage("explore")
    with pytest.raises(ValueError, match="two stages named 'explore'"):
        Scale(name="double", stages=(stage, dataclasses.replace(stage, seeds=(9,))))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("steps",), 0, "steps is 0"),
        (("steps",), "many", "steps is 'many'"),
        (("warmup_steps",), 12, "warmup_steps is 12"),
        (("split",), "train", "split is 'train'"),
        (("seeds",), [], "seeds are"),
        (("seeds",), [1, 1], "seeds are"),
        (("size", "num_heads"), 5, "not a multiple"),
        (("size", "ffn_width"), 161, "steps of 8"),
        (("size", "depth"), 3, "unknown depth"),
        (("probes", "mqar", "length"), 7, "length is 7"),
        (("probes", "mqar", "num_keys"), 200, "lower num_keys"),
        (("probes",), {"recall": {}}, "lacks"),
    ],
)
def test_bad_values_are_refused_with_the_value(path: tuple[str, ...], value: Any, message: str):
    values = mapping()
    target = values["stages"]["explore"]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        scale_from_mapping(values)


def test_missing_key_is_named():
    values = mapping()
    del values["stages"]["explore"]["length"]
    with pytest.raises(ValueError, match=r"explore lacks length"):
        scale_from_mapping(values)


def test_unknown_stage_names_those_that_exist():
    with pytest.raises(ValueError, match="explore, verify"):
        load_scale("tiny").stage("final")


def test_unknown_probe_is_refused():
    with pytest.raises(ValueError, match="'copying'"):
        ProbeSpec(
            name="copying",
            num_pairs=2,
            num_keys=4,
            length=16,
            steps=1,
            batch_size=1,
            learning_rate=1e-3,
            eval_items=1,
        )


def test_model_size_is_frozen():
    size = ModelSize(num_layers=1, hidden_size=8, num_heads=1, ffn_width=8, vocab_size=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        size.num_layers = 2  # type: ignore[misc]
