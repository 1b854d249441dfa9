"""The report of a real campaign, of several, and of one whose candidates write into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cognition.reader import Reader
from cognition.records import Candidate, Charge, Claim, Trial, candidate_id_of
from models.slots import published_source
from orchestrator.config import compose, settings_from
from orchestrator.report.__main__ import main
from orchestrator.report.cells import text
from orchestrator.report.figures import attempts_of, figures_of, published
from orchestrator.report.markdown import answer, report_of
from tests.cognition.factories import make_candidate, make_charge, make_trial


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "it"))


def test_a_campaigns_report_lies_in_its_folder_and_says_what_the_rows_say(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(finished)]) == 0
    assert str(finished / "report.md") in capsys.readouterr().out
    told, data = (finished / "report.md").read_text(), json.loads((finished / "report.json").read_text())
    claims = Reader(finished).rows(Claim)
    assert {claim["candidate_id"] for claim in data["claims"]} == {claim.candidate_id for claim in claims}
    assert f"{data['claims'][0]['difference']:+.4f}" in told
    assert told.startswith("# linear\\_attn: what was found\n")
    for title in ("What is claimed", "Arms at equal cost", "Leaderboard", "Spent", "What this does not say"):
        assert f"\n## {title}\n" in told
    assert "NaN" not in told
    rows = Reader(finished).rows(Charge)
    spent = sum(row["slot_hours"] for row in data["spend"])
    assert spent == pytest.approx(sum(row.slot_s for row in rows) / 3600)
    losses = [t.loss for t in Reader(finished).rows(Trial) if t.loss is not None and t.stage == "explore"]
    assert min(row["loss"] for row in data["leaderboard"]) == pytest.approx(min(losses))


def test_several_are_put_beside_each_other_and_what_differs_is_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both" / "them.md"
    assert main([str(finished), str(finished), "--out", str(out)]) == 0
    told = out.read_text()
    assert told.count(": what was found") == 2
    assert "losses do not compare" not in told
    assert len(json.loads(out.with_suffix(".json").read_text())) == 2
    capsys.readouterr()
    assert main([str(finished), "--out", str(tmp_path / "them.json")]) == 2
    assert "give FILE.md" in capsys.readouterr().err
    assert main([str(finished), str(finished)]) == 0
    assert "Campaigns beside each other" in capsys.readouterr().out


def test_what_candidates_write_means_nothing_but_itself() -> None:
    hostile = "<script>alert(1)</script> | [x](javascript:1) `a` *b*\n# head &amp;"
    shown = text(hostile)
    assert "<" not in shown
    assert "\n" not in shown
    for mark in ("|", "[", "]", "`", "*"):
        assert f"\\{mark}" in shown
    assert shown.count("|") == shown.count("\\|")


@pytest.mark.parametrize("run", ["nowhere", "/"])
def test_what_is_no_campaign_is_one_line(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([run]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_arms_attempt_is_a_number_with_all_its_repairs() -> None:
    first = make_candidate(5)
    mended = Candidate(**{**_values(make_candidate(6)), "number": 5, "attempt": 1, "arm": first.arm})
    charges = [
        Charge(**{**_values(make_charge(one)), "candidate_id": one.candidate_id, "stage": "explore", "slot_s": cost})
        for one, cost in ((first, 3.0), (mended, 4.0))
    ]
    (found,) = attempts_of([first, mended], charges, "explore", {mended.candidate_id: 2.5})[first.arm]
    assert (found.cost, found.loss) == (7.0, 2.5)


def test_published_figures_stand_beside_ours_where_sizes_match() -> None:
    size = {"num_layers": 8, "hidden_size": 256, "vocab_size": 50257}
    stage: dict[str, Any] = {"name": "explore", "size": size, "batch_size": 256, "length": 2048, "steps": 2000}
    stage |= {"seeds": [0], "split": "validation"}
    shipped, liar = candidate_id_of(published_source("token_mixer", "delta_net")), make_candidate(0)
    ours, other = (
        Trial(**{**_values(make_trial(liar)), "candidate_id": of, "stage": "explore", "train_loss": loss})
        for of, loss in ((shipped, 4.6), (liar.candidate_id, 1.0))
    )
    rows = {row["model"]: row for row in published("token_mixer", [stage], [ours, other])}
    assert rows["delta_net"]["train_loss"] == 4.5749
    assert rows["delta_net"]["our_train_loss"] == pytest.approx(4.6)
    assert rows["gated_delta_net"]["our_train_loss"] is None
    assert published("token_mixer", [stage | {"steps": 20}], [ours]) == []


def test_the_answer_is_the_best_state(finished: Path) -> None:
    figures = figures_of(str(finished))
    (claim, *_) = figures["claims"]
    assert "No discovery" in answer(figures)
    found = {**figures, "claims": [{**claim, "state": "discovery"}]}
    assert answer(found).startswith("**1 discovery.** candidate ")
    assert "Nothing was verified" in answer({**figures, "claims": []})
    assert "The campaign is not finished." in answer({**figures, "finished": False})
    assert report_of({**figures, "claims": [], "arms": [], "noise": []}).count("\n## ") >= 4


@pytest.mark.parametrize("name", ["cognition", "analysis", "judge", "novelty", "early_stopping"])
def test_an_ablation_is_a_campaign_of_its_own_that_lacks_one_aid(name: str) -> None:
    key = {"OPENAI_API_KEY": "sk-none"}
    whole = settings_from(compose(["+campaign=linear_attn", "scale=tiny", "llm=openai"]), environment=key)
    without = settings_from(
        compose(["+campaign=linear_attn", "scale=tiny", "llm=openai", f"+ablation={name}"]), environment=key
    )
    assert without.run.name == f"linear_attn-without-{name}"
    differing = {
        field
        for field in ("cognition", "grammar", "arms", "fitness", "novelty", "stages")
        if getattr(whole, field) != getattr(without, field)
    }
    assert (
        differing
        == {
            "cognition": {"cognition", "arms"},
            "analysis": {"cognition", "grammar", "arms"},
            "judge": {"fitness"},
            "novelty": {"novelty"},
            "early_stopping": {"stages"},
        }[name]
    )
    assert sum(without.arms.weights.values()) == sum(whole.arms.weights.values())


def _values(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__ if not name.isupper()}
