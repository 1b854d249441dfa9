"""Extractors that packages declare: found by their metadata, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cognition.registered import EXTRACTORS, NotRegistered, registered
from tests.agents.test_extraction import good
from tests.cognition.documents import BODY
from tests.model_server.server import ModelServer

ROOT = Path(__file__).parents[2]


def test_what_is_not_registered_is_told_with_the_remedy() -> None:
    with pytest.raises(
        NotRegistered, match=r"no 'llm' is registered in cognition\.extractors \(known: none\): install"
    ):
        registered(EXTRACTORS, among=[])
    mine = EntryPoint(name="mine", value="nowhere.at_all:thing", group=EXTRACTORS)
    with pytest.raises(NotRegistered, match=r"no 'yours' is registered .*known: mine"):
        registered(EXTRACTORS, "yours", among=[mine])
    with pytest.raises(NotRegistered, match=r"mine = 'nowhere\.at_all:thing' cannot be loaded"):
        registered(EXTRACTORS, "mine", among=[mine])


def test_installed_packages_hand_theirs_in(tmp_path: Path) -> None:
    """Real metadata, real processes: the project's own extractor, and one of a lab that leaks no key."""
    for name, module in (("architecture-research-orchestrator", "agents.extraction:extractor"), ("lab", "lab:make")):
        info = tmp_path / "site" / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        point = "llm" if name != "lab" else "mine"
        (info / "entry_points.txt").write_text(f"[cognition.extractors]\n{point} = {module}\n")
    (tmp_path / "site" / "lab.py").write_text(
        "from cognition.adding import ExtractionFailed\n\n\ndef make(wish):\n"
        "    raise ExtractionFailed(f'asked for {wish.model} within {wish.budget_usd}')\n"
    )
    path = tmp_path / "n.md"
    path.write_text(f"# A study of gates\n{BODY}")
    with ModelServer(good, faults={"bad_key": 1.0}) as server:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}",
            "OPENAI_API_BASE": server.url,
            "OPENAI_API_KEY": "sk-planted-secret",
        }

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [
                sys.executable,
                "-X",
                "dev",
                "-m",
                "cognition",
                "add",
                str(path),
                "--into",
                str(tmp_path / "own"),
            ]
            return subprocess.run(
                [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
            )

        mine = run("--extractor", "mine", "--model", "m", "--budget-usd", "0.25")
        assert mine.returncode == 2
        assert mine.stderr == "error: asked for m within 0.25\n"
        refused = run()
        assert refused.returncode == 2
        assert "Incorrect API key" in refused.stderr
        assert not (tmp_path / "own").exists()
        server.faults = {}
        written = run("--budget-usd", "0.25")
        assert written.returncode == 0, written.stderr
        assert (tmp_path / "own" / "study_gates.yaml").exists()
        assert any("sk-planted-secret" in seen.get("authorization", "") for seen in server.headers_seen)
    for output in (mine, refused, written):
        assert "planted" not in output.stdout + output.stderr
        assert "Traceback" not in output.stderr
        assert "ResourceWarning" not in output.stderr
