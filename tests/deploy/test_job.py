"""`ray job submit` with the working tree, on two raylets of this machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import compose, settings_from
from orchestrator.errors import UsageError
from tests.deploy.raylets import Raylets, raylets

CAMPAIGN = ("+campaign=linear_attn", "scale=tiny", "tracking=none")
SENT = ("--working-dir", ".", "--runtime-env", "deploy/job/runtime_env.yaml")
SUBMITTED = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}

# What a driver and an actor on the other node see.
PROBE = """
import os, ray, orchestrator.crew
ray.init(log_to_driver=False)

@ray.remote(resources={"far": 1})
class Actor:
    def sees(self):
        import orchestrator.crew
        node = ray.get_runtime_context().get_node_id()
        return node, os.environ.get("OPENAI_API_KEY"), orchestrator.crew.__file__, os.path.exists("tests")

here = ray.get_runtime_context().get_node_id()
print("SEEN", (here, orchestrator.crew.__file__, *ray.get(Actor.remote().sees.remote())))
"""

# A few trackers of W&B, and the nodes on which they are.
TRACKERS = """
import sys, ray
from pathlib import Path
from orchestrator.config import TrackingSettings
from orchestrator.run_folder import RunFolder
from orchestrator.tracking import Tracker
from ray.util.state import list_actors
ray.init(log_to_driver=False)
folder = RunFolder(Path(sys.argv[1]))
started = [Tracker.start(TrackingSettings(mode="offline"), folder) for _ in range(4)]
ray.get([tracker._actor.__ray_ready__.remote() for tracker in started])
nodes = {actor.node_id for actor in list_actors() if actor.class_name == "WandbActor"}
print("SEEN", (ray.get_runtime_context().get_node_id(), nodes))
"""

# A campaign that ends as soon as its actors are there, and the nodes on which they are.
AGENTS = """
import sys, time, ray
from orchestrator.campaign import Campaign
from ray.util.state import list_actors

EXPECTED = {"EngineerActor", "LedgerActor", "TrialEngineActor", "ExaminerActor"}

class Watch:
    def started(self, campaign):
        nodes = {}
        while not EXPECTED <= nodes.keys():  # a campaign does not wait for each of them before it starts
            time.sleep(0.2)
            nodes = {actor.class_name: actor.node_id for actor in list_actors() if actor.state == "ALIVE"}
        print("SEEN", (ray.get_runtime_context().get_node_id(), nodes), flush=True)
        campaign.halt.ask("seen enough", at_once=True)
    recorded = tick = ended = failed = lambda *_: None

Campaign.compose(*sys.argv[1:], views=[Watch()]).run()
"""

# Needs longer to end than Ray waits by itself, which is three seconds.
SLOW_TO_END = """
import signal, sys, time
def end(*_):
    time.sleep(6)
    open(sys.argv[1], "w").write("ended cleanly")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("RUNNING", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    with raylets() as started:
        key = {"OPENAI_API_KEY": "sk-of-the-other-node"}
        started.start("far", f"--address={started.address}", "--num-cpus=1", '--resources={"far": 1}', environment=key)
        yield started


def seen_by(log: str) -> Any:
    (line,) = re.findall(r"^SEEN (.*)$", log, re.MULTILINE)
    return ast.literal_eval(line)


@pytest.mark.parametrize("root", ["runs", "./runs", "../runs"])
def test_a_jobs_runs_may_not_lie_in_its_copy_of_the_tree(root: str) -> None:
    values = compose([*CAMPAIGN, f"run.root={root}"])
    with pytest.raises(UsageError, match=re.escape(f"run.root is '{root}', and this is a submitted Ray job")):
        settings_from(values, environment=SUBMITTED)
    assert settings_from(values, environment={}).run.root == root


@pytest.mark.parametrize("root", ["/srv/runs", "s3://bucket/runs", "file:///srv/runs"])
def test_a_place_that_outlives_the_job_is_taken(root: str) -> None:
    assert settings_from(compose([*CAMPAIGN, f"run.root={root}"]), environment=SUBMITTED).run.root == root


def test_a_campaign_that_would_lose_its_runs_fails_as_a_job_with_one_line(cluster: Raylets) -> None:
    told = cluster.job("submit", *SENT, "--", "python", "-m", "orchestrator", *CAMPAIGN)
    assert told.returncode == 1
    assert "error: run.root is 'runs', and this is a submitted Ray job" in told.stdout + told.stderr
    assert "Traceback" not in told.stdout
    assert "failed with exit code 2" in told.stdout + told.stderr


def test_an_actor_on_another_node_runs_the_tree_that_was_sent_and_sees_the_keys_of_its_node(cluster: Raylets) -> None:
    told = cluster.job("submit", *SENT, "--", "python", "-c", PROBE)
    assert told.returncode == 0, told.stdout + told.stderr
    here, driver_file, node, key, actor_file, sees_tests = seen_by(told.stdout)
    assert node != here
    assert key == "sk-of-the-other-node"
    for file in (driver_file, actor_file):
        assert Path(file).is_relative_to(cluster.folder), "not from the tree that was sent"
    assert not sees_tests  # deploy/job/runtime_env.yaml leaves them out
    listed = cluster.job("list")
    assert "sk-of-the-other-node" not in listed.stdout + listed.stderr


def test_wandb_is_written_where_the_driver_is(cluster: Raylets, tmp_path: Path) -> None:
    told = cluster.job("submit", *SENT, "--", "python", "-c", TRACKERS, str(tmp_path / "run"))
    assert told.returncode == 0, told.stdout + told.stderr
    here, nodes = seen_by(told.stdout)
    assert nodes == {here}


def test_agents_live_beside_the_driver_where_the_keys_are(cluster: Raylets, tmp_path: Path) -> None:
    options = (*CAMPAIGN, "data.max_bytes=1500000", f"run.root={tmp_path}")
    told = cluster.job("submit", *SENT, "--", "python", "-c", AGENTS, *options)
    assert told.returncode == 0, told.stdout + told.stderr
    here, nodes = seen_by(told.stdout)
    actors = {"EngineerActor", "LedgerActor", "TrialEngineActor", "ExaminerActor"}
    assert {kind: nodes.get(kind) for kind in actors} == dict.fromkeys(actors, here)


def test_a_stopped_job_is_given_time_for_a_clean_end(cluster: Raylets, tmp_path: Path) -> None:
    done = tmp_path / "done"
    words = ("--", "python", "-c", SLOW_TO_END, str(done))
    assert cluster.job("submit", "--submission-id", "slow", "--no-wait", *SENT, *words).returncode == 0
    while "RUNNING" not in cluster.job("logs", "slow").stdout + cluster.job("logs", "slow").stderr:
        assert "FAILED" not in cluster.job("status", "slow").stdout
    assert cluster.job("stop", "slow").returncode == 0
    assert done.read_text() == "ended cleanly"
