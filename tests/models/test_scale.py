from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from models.scale import SCALE_FOLDER, ModelSize, Scale, load_scale, scale_from_mapping


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


def test_scales_are_named_plainly_and_auto_is_none_of_them():
    with pytest.raises(ValueError, match=r"no scale named 'auto' in \S+; there are cpu, "):
        load_scale("auto")
    with pytest.raises(ValueError, match=r"no scale named '\.\./scale/tiny'"):
        load_scale("../scale/tiny")


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
        (("probes", "mqar", "num_keys"), 200, "uses 401 tokens, the model has 256: make .* smaller"),
        (("probes",), {"recall": {}}, r"stages.explore.probes.recall lacks task"),
        (("probes", "mqar", "task"), "copying", "task 'copying' is not known"),
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


def test_softmax_layers_are_counted_from_the_bottom():
    def layers(num_layers: int, every: int) -> tuple[int, ...]:
        return dataclasses.replace(
            load_scale("cpu").stage("explore").size, num_layers=num_layers, softmax_every=every
        ).softmax_layers

    assert layers(8, 4) == (3, 7)
    assert layers(9, 4) == (3, 7)
    assert layers(3, 1) == (0, 1, 2)
    assert layers(8, 0) == ()
    for every in (9, -1, True, "4"):
        with pytest.raises(ValueError, match="softmax_every is"):
            layers(8, every)


def test_a_scale_need_not_mention_softmax_layers():
    values = mapping()
    assert scale_from_mapping(values).stage("verify").size.softmax_every == 0
    values["stages"]["verify"]["size"]["softmax_every"] = 2
    assert scale_from_mapping(values).stage("verify").size.softmax_layers == (1,)


def test_missing_key_is_named():
    values = mapping()
    del values["stages"]["explore"]["length"]
    with pytest.raises(ValueError, match=r"explore lacks length"):
        scale_from_mapping(values)


def test_unknown_stage_names_those_that_exist():
    with pytest.raises(ValueError, match="explore, verify"):
        load_scale("tiny").stage("final")


@pytest.mark.parametrize("name", ["text", "canary"])
def test_a_probe_cannot_take_the_name_of_a_task_that_every_stage_has(name: str):
    values = mapping()
    probes = values["stages"]["explore"]["probes"]
    probes[name] = probes.pop("mqar")
    with pytest.raises(ValueError, match=f"a probe is named '{name}'"):
        scale_from_mapping(values)


def test_one_task_at_several_loads_is_several_probes():
    values = mapping()
    probes = values["stages"]["explore"]["probes"]
    probes["heavy"] = {**probes["mqar"], "num_pairs": 4}
    stage = scale_from_mapping(values).stage("explore")
    assert [(probe.name, probe.chance) for probe in stage.probes] == [("mqar", 0.5), ("heavy", 0.25)]
    assert stage.plan("heavy") is stage.probes[1]


def test_model_size_is_frozen():
    size = ModelSize(num_layers=1, hidden_size=8, num_heads=1, ffn_width=8, vocab_size=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        size.num_layers = 2  # type: ignore[misc]
