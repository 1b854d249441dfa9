"""What nodes say, held against the driver: no Ray."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.config import Settings, compose, settings_from
from orchestrator.doctor.checks import check_keys, check_nodes, check_pools, check_storage
from orchestrator.doctor.findings import Finding, Verdict, healthy
from orchestrator.doctor.node import Facts, Node

HERE = Facts(
    python="3.11.7",
    versions={"ray": "2.58.1", "torch": "2.13.0", "numpy": "2.4.6", "pyarrow": "26.0.1", "triton": None},
    code="abc",
    gpus=(),
    missing_layers=(),
    sandbox_problem="",
    data_problem="",
    corpus="c0ffee",
    checkpoint_problem="",
    sees_marker=True,
    keys=(),
    scratch_free_gb=50.0,
)


def node(resources: dict[str, float] | None = None, silent: str = "", **different: Any) -> Node:
    facts = None if silent else dataclasses.replace(HERE, **different)
    return Node(name="10.0.0.2", resources=resources or {"CPU": 4.0}, driver=False, facts=facts, silent=silent)


def settings(*overrides: str) -> Settings:
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny", *overrides]))


def the_bad(findings: Any) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.ok]


def test_a_node_like_the_driver_is_fine() -> None:
    (found,) = check_nodes([node()], HERE)
    assert str(found) == "ok    node 10.0.0.2: python 3.11.7, ray 2.58.1, torch 2.13.0"


@pytest.mark.parametrize(
    ("different", "verdict", "told"),
    [
        ({"versions": {**HERE.versions, "torch": "2.12.0"}}, Verdict.failed, "has torch 2.12.0 (here 2.13.0)"),
        ({"python": "3.12.1"}, Verdict.failed, "has python 3.12.1 (here 3.11.7)"),
        ({"code": "def"}, Verdict.failed, "has other code of this project (def, here abc)"),
        ({"sandbox_problem": "no user namespaces"}, Verdict.failed, "no candidate can be started: no user namespaces"),
        ({"missing_layers": ("landlock (kernel 5.10)",)}, Verdict.warning, "the jail lacks landlock (kernel 5.10)"),
        ({"data_problem": "data.path: nothing there"}, Verdict.failed, "the corpus cannot be read: data.path"),
        ({"corpus": "decaf"}, Verdict.failed, "its corpus is another one"),
        ({"scratch_free_gb": 0.5}, Verdict.warning, "0.5 GB are free for scratch"),
    ],
)
def test_what_differs_is_told_with_its_remedy(different: dict[str, Any], verdict: Verdict, told: str) -> None:
    (found,) = the_bad(check_nodes([node(**different)], HERE))
    assert found.verdict is verdict
    assert found.told.startswith(told)
    assert found.remedy
    assert healthy([found]) is (verdict is Verdict.warning)


def test_a_patch_of_python_is_no_difference() -> None:
    assert not the_bad(check_nodes([node(python="3.11.9")], HERE))


def test_a_silent_node_and_cards_that_torch_does_not_see_are_failures() -> None:
    (silent,) = check_nodes([node(silent="worker died")], HERE)
    assert silent.told == "does not answer (worker died)"
    (blind,) = the_bad(check_nodes([node({"CPU": 8.0, "GPU": 8.0}, gpus=("H100",) * 7)], HERE))
    assert blind.told == "Ray counts 8 GPUs and torch sees 7"


def test_pools_are_counted_and_what_can_never_be_placed_is_a_failure() -> None:
    nodes = [node({"CPU": 4.0}), node({"CPU": 2.0})]
    assert {str(found) for found in check_pools(settings(), nodes)} == {
        "ok    pool explore: 6 trials at once, on 2 of 2 nodes",
        "ok    pool verify: 6 trials at once, on 2 of 2 nodes",
    }
    (large,) = the_bad(check_pools(settings("pools.verify.cpus=8"), nodes))
    assert (large.verdict, large.told) == (Verdict.failed, "a trial takes CPU 8, and no node has that")
    (later,) = the_bad(check_pools(settings("pools.verify.cpus=8", "pools.verify.limit=3"), nodes))
    assert (later.verdict, later.told.split(";")[0]) == (Verdict.warning, "no node has room for a trial now")


def test_checkpoints_that_are_elsewhere_or_cannot_be_written_are_told() -> None:
    (good,) = check_storage([node(), node()], "s3://b/c")
    assert good.verdict is Verdict.ok
    (apart,) = check_storage([node(), node(sees_marker=False)], "/var/c")
    assert (apart.verdict, apart.told) == (
        Verdict.warning,
        "/var/c is another place on 10.0.0.2: a trial that moves there begins anew",
    )
    (broken,) = check_storage([node(), node(checkpoint_problem="OSError: denied", sees_marker=False)], "s3://b/c")
    assert (broken.verdict, broken.told) == (
        Verdict.failed,
        "s3://b/c cannot be used from node 10.0.0.2: OSError: denied",
    )


def test_keys_have_to_be_where_the_agents_are(monkeypatch: pytest.MonkeyPatch) -> None:
    here = dataclasses.replace(HERE, keys=("OPENAI_API_KEY",))
    near = dataclasses.replace(node(), driver=True)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    asks = settings("llm=openai")
    assert [found.told for found in check_keys(asks, [near, node()], here)] == [
        "OPENAI_API_KEY set here and not in Ray's workers on node 10.0.0.2"
    ]
    assert not list(check_keys(settings("llm=none"), [near], here))
