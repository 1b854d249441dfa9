"""What a bundle says of a candidate: hostile texts mean nothing, claims are the latest, `best` goes by them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cognition.reader import Reader
from cognition.records import Claim, ClaimState, Verdict
from cognition.store import Store
from models.sandbox.settings import SandboxSettings
from orchestrator.bundle.card import card
from orchestrator.bundle.ideas import idea_text, nearest_idea
from orchestrator.bundle.winner import Winner, _best, _settings, winner_of
from orchestrator.bundle.writing import write_bundle
from orchestrator.errors import UsageError
from orchestrator.run_folder import RunFolder

HOSTILE = "\n<!-- ![x](https://h/p.png) <img src=x> [a](https://h) | `code` **bold**\n# Heading\n"


@pytest.fixture(scope="module")
def winner(undisturbed: Path) -> Winner:
    return winner_of(RunFolder.existing(undisturbed), "best")


def shown(winner: Winner) -> str:
    return card(winner, None, "linear_attention", "Weights.", {"kernels_dispatch.py": "kernels/dispatch.py"})


def claim(winner: Winner, **changes: object) -> Claim:
    return replace(winner.claims[0], **changes)  # type: ignore[arg-type]


def test_what_candidates_and_gates_wrote_is_shown_and_not_obeyed(winner):
    assert winner.report is not None
    assert winner.verdict is not None
    named = replace(winner.candidate, name=HOSTILE, motivation=HOSTILE * 30 + "last words")
    detail = replace(winner.report.properties[0], detail=HOSTILE)
    hostile = replace(
        winner,
        candidate=named,
        parent=named,
        verdict=replace(winner.verdict, reason=HOSTILE),
        report=replace(winner.report, properties=(detail,)),
        names={winner.claims[0].baseline_id: HOSTILE},
        claims=(claim(winner, reason=HOSTILE),),
    )
    text = shown(hostile)
    assert text.count("&lt;!--") >= 36
    for meant in ("<!--", "<img", "![", "](", "**bold", " | `code"):
        assert meant not in text.replace("\\|", "").replace("\\[", "").replace("\\]", "").replace("\\*", "")
    assert not re.search(r"^# Heading", text, re.MULTILINE)
    assert "last words" in text
    assert text.index("runs it with your rights") < text.index("last words")


def test_an_idea_means_nothing_but_itself(winner):
    idea = nearest_idea(winner)
    assert idea is not None
    hostile = replace(
        idea,
        element=HOSTILE,
        paper=replace(idea.paper, title=HOSTILE),
        entry=replace(idea.entry, insight=HOSTILE, mechanism="word " * 300 + "end"),
    )
    text = idea_text(hostile)
    assert "<" not in text
    assert not re.search(r"^# Heading", text, re.MULTILINE)
    assert "word end" in text


def test_the_card_tells_states_and_not_what_an_interval_looks_like(winner):
    rejected = claim(
        winner, state=ClaimState.rejected, reason="no better than retnet", low=-0.2, high=-0.1, num_tested=17
    )
    few = claim(winner, num_seeds=2, low=None, high=None, baseline_id="other")
    text = shown(replace(winner, claims=(rejected, few)))
    row = next(line for line in text.splitlines() if "no better than retnet" in line)
    assert "| rejected |" in row
    assert "| 17 |" in row
    assert "better |" not in row
    assert "too few seeds for an interval" in text
    assert "one seed" not in text
    assert "the best baseline" not in text


def test_only_the_last_revision_of_a_claim_leaves(winner, undisturbed, tmp_path):
    folder = Path(shutil.copytree(undisturbed, tmp_path / "again"))
    last = winner.claims[0]
    with Store.open(folder) as store:
        store.append(replace(last, revision=last.revision + 1, reason="more seeds"))
    found = winner_of(RunFolder.existing(folder), winner.candidate.candidate_id)
    assert len(found.claims) == len(winner.claims)
    assert "more seeds" in [one.reason for one in found.claims]


def test_the_best_is_the_best_claim_and_without_one_the_fittest(winner, undisturbed):
    reader = Reader(undisturbed)
    folder = RunFolder.existing(undisturbed)
    one, other = (winner_of(folder, str(number)).candidate for number in (2, 3))
    base = next(row for row in reader.rows(Verdict) if row.fitness is not None)
    verdicts = {
        one.candidate_id: replace(base, candidate_id=one.candidate_id, fitness=1.0),
        other.candidate_id: replace(base, candidate_id=other.candidate_id, fitness=2.0),
    }

    def best(*claims: Claim) -> tuple[str, str]:
        found, rule = _best([one, other], verdicts, claims, ["explore", "middle", "verify"])
        return found.candidate_id, rule

    def of(candidate, stage: str, state: ClaimState) -> Claim:
        return claim(winner, candidate_id=candidate.candidate_id, stage=stage, state=state, reason="so")

    assert best() == (other.candidate_id, "the highest fitness, since nothing is claimed yet")
    promising = of(one, "middle", ClaimState.promising)
    assert best(promising) == (one.candidate_id, "the best claim at stage middle: promising (so)")
    # A higher stage goes before a better state, and its rejection before what a lower one had said.
    assert best(promising, of(other, "verify", ClaimState.undecided))[0] == other.candidate_id
    assert best(promising, of(other, "verify", ClaimState.rejected))[0] == one.candidate_id
    rejected = of(one, "verify", ClaimState.rejected)
    assert best(promising, rejected) == (other.candidate_id, "the highest fitness, since every claim was rejected")
    with pytest.raises(UsageError, match="no candidate beside the baselines has a fitness yet"):
        _best([one], {}, [], ["explore"])


def test_a_configuration_from_before_has_defaults_or_is_named(undisturbed, tmp_path):
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copytree(undisturbed / "lineage", folder / "lineage")
    told = yaml.safe_load((undisturbed / "config.yaml").read_text())
    del told["settings"]["checkpoints"]
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    found = winner_of(RunFolder.existing(folder), "best")
    assert found.weights_uri == str(folder / "checkpoints")
    del told["settings"]["pools"]
    with pytest.raises(ValueError, match=r"config\.yaml lacks pools: another release wrote it"):
        _settings(told, RunFolder.existing(folder))


def test_exporting_again_keeps_evaluations_and_the_environment(undisturbed, winner, tmp_path):
    out = tmp_path / "bundle"
    write_bundle(winner, out, sandbox=SandboxSettings(), tell=lambda told: None)
    (out / "evaluation").mkdir()
    (out / "evaluation" / "20260101-000000.json").write_text("{}")
    (out / ".reproduce").mkdir()
    (out / ".reproduce" / "installed.txt").write_text("here")

    write_bundle(winner, out, sandbox=SandboxSettings(), tell=lambda told: None)
    assert (out / "evaluation" / "20260101-000000.json").is_file()
    assert (out / ".reproduce" / "installed.txt").read_text() == "here"

    record = json.loads((out / "reproduce.json").read_text())
    (out / "reproduce.json").write_text(json.dumps({**record, "weights": "0123456789abcdef"}))
    write_bundle(winner, out, sandbox=SandboxSettings(), tell=lambda told: None)
    assert not (out / "evaluation" / "20260101-000000.json").exists()
    assert (out / "evaluation" / "of_weights_0123456789ab" / "20260101-000000.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_old_bundle_stays_where_the_new_one_cannot_take_its_place(winner, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    write_bundle(winner, out, sandbox=SandboxSettings(), tell=lambda told: None)
    real = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == out and not list(tmp_path.glob(".bundle.old.*/bundle/failed")):
            moved = next(tmp_path.glob(".bundle.old.*/bundle"))
            (moved / "failed").touch()
            raise OSError("no space")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space"):
        write_bundle(winner, out, sandbox=SandboxSettings(), tell=lambda told: None)
    assert (out / "model.safetensors").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
