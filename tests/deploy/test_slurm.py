"""deploy/slurm/campaign.sbatch: what shells say of it, and a run with stand-ins for SLURM and real raylets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.stop import main as stop
from tests.deploy.raylets import ROOT, bare, end, mentioning, wait_for
from tests.orchestrator.small import events, trials

SCRIPT = ROOT / "deploy" / "slurm" / "campaign.sbatch"
CAMPAIGN = (
    *("+campaign=linear_attn", "scale=tiny", "tracking=none", "data.max_bytes=1500000", "budget.candidates=40"),
    *("pools=groups", "pools.explore.cpus=1", "pools.explore.gpus=0", "pools.verify.cpus=1", "pools.verify.gpus=0"),
)
# All nodes are this machine. What each is asked to run is written down.
SRUN = """#!/usr/bin/env bash
node=all
while [[ $1 == --* ]]; do
    [[ $1 == --nodelist=* ]] && node=${1#--nodelist=}
    shift
done
echo "$node: $*" >> "$STAND_INS/asked"
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == show ]]; then
    printf '%s\\n' n1 n2 n3
else
    echo "$*" >> "$STAND_INS/controlled"
fi
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of three nodes, in which `srun` and `scontrol` are ours."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
    environment = bare()
    return {
        **environment,
        "PATH": os.pathsep.join([str(tmp_path), environment["PATH"]]),
        "STAND_INS": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "NODE_CPUS": "1",
        "NODE_GPUS": "0",
    }


@pytest.fixture
def scratch(stand_ins: dict[str, str]) -> Iterator[Path]:
    """Where the script keeps what Ray needs."""
    folder = Path(f"/tmp/ray-{stand_ins['SLURM_JOB_ID']}")
    yield folder
    end(mentioning(folder))
    shutil.rmtree(folder, ignore_errors=True)


def test_bash_and_shellcheck_have_nothing_against_it() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_slurm_is_asked_for_what_the_script_relies_on() -> None:
    asked = re.findall(r"^#SBATCH (--\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"--signal=B:USR1@300", "--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(asked)


def test_a_node_without_the_checkout_is_one_line(stand_ins: dict[str, str], tmp_path: Path) -> None:
    told = subprocess.run(
        ["bash", SCRIPT], env={**stand_ins, "PROJECT": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 2
    assert told.stderr.startswith(f"error: {tmp_path}/.venv/bin/python is not there: set PROJECT")


@pytest.mark.nightly
def test_before_the_time_limit_it_stops_cleanly_and_asks_to_be_queued_again(
    stand_ins: dict[str, str], scratch: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    log = tmp_path / "log"
    with log.open("wb") as told:
        job = subprocess.Popen(
            ["bash", SCRIPT, *CAMPAIGN, f"run.root={runs}"],
            env=stand_ins,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: len(trials(runs / "linear_attn")) >= 2, log.read_text, alive=lambda: job.poll() is None)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(300) == 0, log.read_text()
    finally:
        if job.poll() is None:
            stop([str(runs / "linear_attn"), "--now"])
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert "3 of 3 nodes are there" in log.read_text()
    assert [event.detail for event in events(runs / "linear_attn", "campaign_stopped")] == ["SIGTERM"]
    assert (tmp_path / "controlled").read_text() == f"requeue {stand_ins['SLURM_JOB_ID']}\n"
    asked = (tmp_path / "asked").read_text().splitlines()
    starts = {line.partition(":")[0]: line for line in asked if " start " in line}
    assert {node: '"verify"' in line for node, line in starts.items()} == {"n1": False, "n2": False, "n3": True}
    assert {node: "-u OPENAI_API_KEY" in line for node, line in starts.items()} == {"n1": False, "n2": True, "n3": True}
    assert not mentioning(scratch)
    assert not scratch.exists()
