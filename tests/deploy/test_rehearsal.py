"""docs/cluster.md: its commands are read by those who will run them, and run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cognition.reader import Reader
from cognition.records import Trial
from orchestrator.config import Settings, compose, settings_from
from tests.deploy.raylets import ROOT, bare, end, free_ports, mentioning
from tests.orchestrator.small import events

DOCUMENT = ROOT / "docs" / "cluster.md"
_PATIENCE_S = 1_500
_FENCED = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script() -> str:
    """Every block of commands, in order, as it stands in the document."""
    return "".join(_FENCED.findall(DOCUMENT.read_text()))


def words_of(command: str) -> list[list[str]]:
    """The words behind each place where a command stands, without what the shell alone is concerned with."""
    text = script().replace("\\\n", " ")
    campaign = re.findall(r'^campaign="(.*)"$', text, re.MULTILINE)
    told = campaign[1].replace("$campaign", campaign[0])
    found = []
    for line in text.splitlines():
        for part in re.split(r"[|;]|&$", line.replace("$campaign", told)):
            if f"{command} " in part and not part.startswith(("campaign=", "#")):
                words = part[part.index(f"{command} ") + len(command) :].split(" > ")[0].split(" 2> ")[0]
                found.append(shlex.split(words, comments=True))
    return found


def campaigns() -> list[Settings]:
    return [settings_from(compose(words), environment={}) for words in words_of("python -m orchestrator")]


@pytest.mark.parametrize("name", ["start", "status", "health-check"])
def test_ray_takes_what_the_document_says(name: str) -> None:
    from ray.scripts.scripts import cli

    command = cli.commands[name]
    found = words_of(f"ray {name}")
    assert found
    for words in found:
        with command.make_context(name, list(words)) as context:
            assert isinstance(context, click.Context)


@pytest.mark.parametrize("name", ["submit", "logs", "stop"])
def test_rays_jobs_take_what_the_document_says(name: str) -> None:
    from ray.dashboard.modules.job.cli import job_cli_group

    found = words_of(f"ray job {name}")
    assert found
    for words in found:
        job_cli_group.commands[name].make_context(name, list(words)).close()


def test_the_campaign_is_one_and_its_pools_are_where_the_raylets_say() -> None:
    first, second = campaigns()
    assert first == second
    offered = "".join(" ".join(words) for words in words_of("ray start"))
    for stage in first.stages.values():
        (resource,) = first.pools[stage.pool].resources
        assert f'{{"{resource}": 1}}' in offered


def test_files_that_the_document_names_are_there() -> None:
    named = set(re.findall(r"\b((?:deploy|docs|tests|conf)/[\w./-]+\.\w+)", DOCUMENT.read_text()))
    assert {"deploy/job/runtime_env.yaml", "deploy/kuberay/rayjob.yaml"} <= named
    later = {"docs/storage.md"}
    assert not [path for path in named - later if not (ROOT / path).exists()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In the place of /tmp, and as short."""
    made = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    end(mentioning(made))
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.timeout(_PATIENCE_S + 100)
@pytest.mark.nightly  # two to five minutes: three raylets, the doctor, a job that is stopped and one to the end
def test_the_rehearsal_works_to_the_letter(folder: Path) -> None:
    """Its ports and /tmp are exchanged for free ones, so that several can go on at once; nothing else is."""
    told = script().replace("/tmp/", f"{folder}/")
    gcs, dashboard, client = free_ports(3)
    told = told.replace("6379", str(gcs)).replace("8265", str(dashboard))
    told = told.replace("--head ", f"--head --ray-client-server-port={client} ")
    log = folder / "rehearsal.log"  # a file, since raylets would hold a pipe open
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", f"set -euo pipefail\n{told}"],
            cwd=ROOT,
            env=bare(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            code = shell.wait()
    shown = log.read_text()
    assert code == 0, shown
    assert "a campaign can start: " in shown
    assert "(goes on)" in shown
    run = folder / "campaigns" / "linear_attn"
    assert events(run, "campaign_stopped")
    assert events(run, "campaign_finished")
    assert {trial.stage for trial in Reader(run).rows(Trial)} == {"explore", "verify"}
    assert not mentioning(folder)
