from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from models import probes
from models.probes import load_probes, probe_from_mapping, probe_of
from models.probes.mqar import Mqar
from models.scale import load_scale, stage_of

ENTRY: dict[str, Any] = {
    "task": "mqar",
    "num_pairs": 2,
    "num_keys": 4,
    "length": 16,
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "eval_items": 16,
}


def test_a_probe_has_a_name_of_its_own_beside_its_task():
    probe = probe_from_mapping("probes.heavy", "heavy", ENTRY)
    assert (probe.name, probe.task, probe.length) == ("heavy", Mqar(num_pairs=2, num_keys=4), 16)
    assert (probe.vocab_size, probe.chance) == (9, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": None}, r"^probes.p lacks task: name one of mqar, .* s5$"),
        ({"task": "copying"}, r"^probes.p: task 'copying' is not known; use one of mqar"),
        ({"num_pairs": None}, r"^probes.p \(task mqar\) lacks num_pairs"),
        ({"steps": None}, r"lacks steps"),
        ({"pairs": 4}, r"has unknown pairs; it takes .*num_pairs"),
        ({"kind": "mqar"}, r"has unknown kind"),
        ({"num_pairs": 5}, r"^probes.p: mqar: 5 pairs need .* num_keys is 4"),
        ({"num_pairs": "two"}, r"num_pairs is 'two'; give a whole number"),
        ({"length": 7}, r"length is 7; Mqar\(.*num_pairs=2.*\) takes 8 at least: lengthen it"),
        ({"steps": 1.5}, r"steps is 1.5; give a whole number"),
        ({"learning_rate": 0}, r"learning_rate is 0; give a number above 0"),
    ],
)
def test_wrong_entries_are_refused_with_place_value_and_remedy(changes: dict[str, Any], message: str):
    entry = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        probe_from_mapping("probes.p", "p", entry)


@pytest.mark.parametrize("name", ["", "Mqar", "4_pairs", "a-b", "p" * 41])
def test_names_that_columns_and_metrics_cannot_bear_are_refused(name: str):
    with pytest.raises(ValueError, match="probe name"):
        probe_from_mapping("probes.p", name, ENTRY)


def test_an_entry_that_is_no_mapping_is_refused():
    with pytest.raises(ValueError, match=r"probes.p is 3; give a mapping"):
        probe_from_mapping("probes.p", "p", 3)


def test_every_probe_travels_as_json_unchanged():
    shipped = load_probes("cpu")
    assert {probe.task.kind for probe in shipped} == set(probes.TASKS)
    for probe in shipped:
        assert probe_of(json.loads(json.dumps(asdict(probe)))) == probe


def test_a_stage_with_many_probes_travels_as_json_unchanged():
    stage = replace(load_scale("cpu").stage("explore"), probes=load_probes("cpu"))
    assert stage_of(json.loads(json.dumps(asdict(stage)))) == stage


def test_shipped_probes_hold_two_loads_of_mqar_under_two_names():
    loads = {probe.name: probe.task.num_pairs for probe in load_probes("cpu") if isinstance(probe.task, Mqar)}
    assert loads == {"mqar_4": 4, "mqar_8": 8}


def test_an_unknown_set_of_probes_names_those_that_exist():
    with pytest.raises(ValueError, match=r"no probes named 'huge' .* there are cpu"):
        load_probes("huge")
