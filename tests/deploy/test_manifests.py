"""What deploy/ holds for KubeRay, the cluster launcher, jobs and images, read by what will read it there.

Ray's own code reads both clusters; nothing is started.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from orchestrator.config import Settings, compose, settings_from
from orchestrator.pools import GATE

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RAYJOB = DEPLOY / "kuberay" / "rayjob.yaml"
LAUNCHER = DEPLOY / "autoscaler" / "cluster.yaml"
KUBERNETES = "1.31"  # of the pods' schemas


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def groups_settings() -> Settings:
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny", "pools=groups"]))


def pods() -> dict[str, Mapping[str, Any]]:
    """The pods' specs, by group."""
    spec = loaded(RAYJOB)["spec"]["rayClusterSpec"]
    workers = {group["groupName"]: group["template"]["spec"] for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"]["template"]["spec"], **workers}


def kuberay_node_types() -> Mapping[str, Any]:
    """Node types and what each offers, as Ray's autoscaler derives them from the custom resource."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    job = loaded(RAYJOB)
    cluster = {"metadata": {"name": "a", "namespace": "b"}, "spec": job["spec"]["rayClusterSpec"]}
    types: Mapping[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    return types


def launcher_config() -> Mapping[str, Any]:
    """The launcher's configuration with Ray's defaults, checked by Ray's own schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(loaded(LAUNCHER))
    validate_config(config)
    return config


def launcher_node_types() -> Mapping[str, Any]:
    types: Mapping[str, Any] = launcher_config()["available_node_types"]
    return types


def started_for(node_types: Mapping[str, Any], bundles: list[dict[str, float]]) -> tuple[dict[str, int], int]:
    """Nodes that Ray's autoscaler would start for trials that wait, and how many trials would still wait then."""
    from ray.autoscaler._private.resource_demand_scheduler import (
        NodeAvailabilitySummary,
        _default_utilization_scorer,
        get_nodes_for,
    )

    head = next(name for name in node_types if name.startswith("head"))
    scorer = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    nodes, left = get_nodes_for(node_types, {head: 1}, head, 100, bundles, scorer)
    return dict(nodes), len(left)


def test_the_rayjob_has_the_fields_that_kuberay_knows() -> None:
    schema = loaded(Path(__file__).with_name("rayjob_v1.yaml"))
    job = loaded(RAYJOB)
    jsonschema.validate(job, schema)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(job, schema)


@pytest.mark.parametrize("group", ["head", "explore", "verify"])
def test_pods_are_what_kubernetes_takes(group: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": group}, "spec": pods()[group]}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    pod["spec"] = {**pods()[group], "container": []}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_a_pod_offers_ray_what_it_has_itself() -> None:
    spec = loaded(RAYJOB)["spec"]["rayClusterSpec"]
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        told = group["rayStartParams"]
        assert (told["num-cpus"], told["num-gpus"]) == (limits["cpu"], limits["nvidia.com/gpu"])


def test_the_launchers_configuration_is_rays() -> None:
    assert set(launcher_config()["available_node_types"]) == {"head", "explore", "verify"}


@pytest.mark.parametrize("read", [kuberay_node_types, launcher_node_types])
@pytest.mark.parametrize("stage", ["explore", "verify"])
def test_trials_that_wait_bring_nodes_of_their_group_and_no_others(read: Any, stage: str) -> None:
    settings = groups_settings()
    pool = settings.pools[settings.stages[stage].pool]
    types = read()
    each = pool.fitting(types[stage]["resources"])
    assert each >= 1
    assert [name for name in types if pool.fitting(types[name]["resources"])] == [stage]
    assert started_for(types, [pool.bundle] * (2 * each)) == ({stage: 2}, 0)


@pytest.mark.parametrize("read", [kuberay_node_types, launcher_node_types])
def test_pools_ask_for_no_more_trials_than_their_group_may_grow_to(read: Any) -> None:
    pools = groups_settings().pools
    for name, pool in pools.items():
        if name != GATE:
            node = read()[name]
            assert pool.limit is not None
            assert started_for(read(), [pool.bundle] * pool.limit)[1] == 0
            assert pool.fitting(node["resources"]) * node["max_workers"] >= pool.limit


def test_generated_code_runs_where_no_models_key_is() -> None:
    def secrets(group: str) -> list[str]:
        return [source["secretRef"]["name"] for source in pods()[group]["containers"][0]["envFrom"]]

    assert {group: secrets(group) for group in pods()} == {
        "head": ["model-keys", "object-store"],
        "explore": ["object-store"],
        "verify": ["object-store"],
    }
    docker = loaded(LAUNCHER)["docker"]
    keys = "--env-file"
    assert any(keys in option for option in docker["head_run_options"])
    assert not any(keys in option for option in [*docker["run_options"], *docker["worker_run_options"]])
    types = loaded(LAUNCHER)["available_node_types"]
    assert all(types[name]["initialization_commands"] == [] for name in ("explore", "verify"))


def test_the_rayjobs_command_is_a_campaign() -> None:
    words = shlex.split(loaded(RAYJOB)["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "orchestrator"]
    settings = settings_from(compose(words[3:]), environment={"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"})
    assert settings.run.root.startswith("s3://")
    assert set(pods()) - {"head"} == {stage.pool for stage in settings.stages.values()}


def test_versions_are_those_of_the_constraints() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert loaded(RAYJOB)["spec"]["rayClusterSpec"]["rayVersion"] == pins["ray"]
    images = {pod["containers"][0]["image"] for pod in pods().values()} | {loaded(LAUNCHER)["docker"]["image"]}
    assert len(images) == 1


def test_the_image_takes_the_packages_that_the_project_states(tmp_path: Path) -> None:
    """The command that lists them, as it stands in the Dockerfile."""
    text = (DEPLOY / "image" / "Dockerfile").read_text()
    (command,) = [part for part in text.split("RUN ") if part.startswith("python -c")]
    script = command.partition(" > /tmp/wanted.txt")[0].replace("\\\n", "").replace("python", sys.executable, 1)
    wanted = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"ray[tune]>=2.58,<3", "ray[default]>=2.58,<3"} <= set(wanted.splitlines())
    assert "pytest" not in wanted


def test_what_a_job_takes_along_is_the_code_and_no_key() -> None:
    from ray.runtime_env import RuntimeEnv

    told = loaded(DEPLOY / "job" / "runtime_env.yaml")
    assert RuntimeEnv(**told)["excludes"] == told["excludes"]
    assert set(told["env_vars"]) == {"RAY_JOB_STOP_WAIT_TIME_S"}
    grace_s = groups_settings().flow.grace_s
    assert int(told["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 2 * grace_s
    kept = {"orchestrator", "agents", "models", "kernels", "cognition", "conf"}
    assert not {line.strip("/") for line in told["excludes"]} & kept
