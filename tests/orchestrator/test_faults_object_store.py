"""A whole campaign whose run folder is in an object store, killed and gone on with by another process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cognition.folders import folder_at
from orchestrator import backtest, status, stop
from orchestrator.campaign import Campaign
from orchestrator.config import compose, settings_from
from orchestrator.errors import UsageError
from orchestrator.outbox import REFUSED, TAKEN_AGAIN
from tests.object_store import BUCKET, ObjectStore
from tests.orchestrator.processes import campaign, kill
from tests.orchestrator.small import SMALL, events, ledger, trials
from tests.orchestrator.test_faults_store import Saboteur


def test_a_killed_campaign_is_gone_on_with_and_equals_an_undisturbed_local_one(
    undisturbed: Path, object_store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = object_store.uri("killed")
    root = f"run.root=s3://{BUCKET}"
    with campaign(Path("killed"), *SMALL, root, environment=object_store.environment) as running:
        running.wait_for(lambda: len(trials(uri)) >= 2, timeout_s=600)
        assert status.main([uri]) == 0
        assert "running, driven by process" in capsys.readouterr().out
        assert kill(running.of_kind("driver"), random.Random(0)) is not None
        running.end()
    kept = {trial.trial_id: trial.finished_at for trial in trials(uri)}
    with campaign(Path("killed"), *SMALL, root, environment=object_store.environment) as running:
        code, told = running.end(timeout_s=600)
        assert (code, told) == (0, ""), told
    assert ledger(uri) == ledger(undisturbed)
    assert kept.items() <= {trial.trial_id: trial.finished_at for trial in trials(uri)}.items(), "nothing is done again"
    assert set(folder_at(uri).entries()) == {"checkpoints", "config.yaml", "lineage", "report.json", "report.md"}
    verified = {f"{trial.trial_id}.weights.npz" for trial in trials(uri) if trial.stage == "verify"}
    assert set(folder_at(uri).within("checkpoints").files()) == verified
    assert status.main([uri]) == 0
    assert f"{uri}: finished" in capsys.readouterr().out
    assert stop.main([uri]) == 0
    assert "is not running" in capsys.readouterr().out
    assert backtest.main([uri, "--stage", "explore"]) == 0
    assert "curves      killed" in capsys.readouterr().out
    asked = [sys.executable, "-m", "cognition", "search", "recall", "--num", "1", "--run", uri, "--format", "json"]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=300, env=dict(os.environ))
    assert found.returncode == 0, found.stderr
    assert {"entry", "insight"} == {item["item"] for item in json.loads(found.stdout)}


@pytest.mark.nightly
def test_a_store_that_is_away_for_a_while_is_waited_for(undisturbed: Path, object_store: ObjectStore) -> None:
    uri = object_store.uri("away")
    root = uri.replace("/away?", "?")
    saboteur = Saboteur(
        lambda: object_store.refuse(lambda method, key: key.startswith("away/")),
        lambda: object_store.refuse(None),
        at=2,
        after_s=2.0,
    )
    try:
        result = Campaign.compose(*SMALL, f'run.root="{root}"', "run.name=away", views=[saboteur]).run()
    finally:
        object_store.refuse(None)
    assert result.stopped_by is None
    assert saboteur.lines == [REFUSED, TAKEN_AGAIN]
    assert result.folder == uri
    assert ledger(uri) == ledger(undisturbed)
    assert len({trial.trial_id for trial in trials(uri)}) == len(trials(uri))
    assert events(uri, REFUSED)[0].created_at < events(uri, TAKEN_AGAIN)[0].created_at


def test_what_is_files_for_people_is_refused(object_store: ObjectStore) -> None:
    with pytest.raises(UsageError, match=r"arms draws inbox, .* run\.root is s3://"):
        settings_from(compose(["+campaign=linear_attn", "arms=inbox", "run.root=s3://bucket/runs"]), environment={})
    with pytest.raises(UsageError, match=r"run\.root: .* has a key in it"):
        settings_from(compose(["+campaign=linear_attn", "run.root=s3://id:secret@bucket/runs"]), environment={})
