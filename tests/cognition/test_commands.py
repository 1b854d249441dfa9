"""What commands print: nothing that drives a terminal, and advice that can be followed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from cognition.__main__ import main
from cognition.embedding import NoVectors
from cognition.library import Library, load_library
from cognition.registered import EMBEDDERS, Wish
from cognition.store import Store
from tests.cognition.factories import make_candidate, make_insight, make_verdict

_HOSTILE = "My \x1b[31mlab\x1b]0;pwn\x07 \u202enote\U000e0041"


def test_a_search_prints_nothing_that_drives_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a store or a library that another version wrote."""
    library = load_library()
    papers = {
        name: replace(paper, title=_HOSTILE, identifier=_HOSTILE, library="own\x1b")
        for name, paper in library.papers.items()
    }
    monkeypatch.setattr(
        "cognition.commands.search.load_library", lambda folders: Library(papers=papers, entries=library.entries)
    )
    parent = make_candidate(0)
    child = make_candidate(1, parent=parent)
    with Store.open(tmp_path / "run") as store:
        store.append(parent, child, replace(make_insight(child, parent), claim=_HOSTILE, insight_id="i\x1b"))
    asked = ["search", "recall fades with length", "--num", "1", "--run", str(tmp_path / "run")]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "My [31mlab ]0;pwn note" in out
    assert "claim" in out
    assert out.replace("\n", "").isprintable()
    assert main([*asked, "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert [found.get("title", found.get("claim")) for found in json.loads(out)] == [_HOSTILE, _HOSTILE]


def test_a_lineage_prints_nothing_that_drives_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = replace(make_candidate(0), name=_HOSTILE, arm="arm\x1b")
    child = replace(
        make_candidate(1, parent=parent), changes=(_HOSTILE,), source="class TokenMixer:\n    x = '\u202e'\n"
    )
    with Store.open(tmp_path) as store:
        store.append(parent, child)
    assert main(["lineage", "1", "--run", str(tmp_path), "--diff"]) == 0
    out = capsys.readouterr().out
    assert "+    x = ' '" in out
    assert out.replace("\n", "").isprintable()


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, list[Any]]:
    """A founder with a child, and siblings of it: number 2 in two attempts, number 3 in one."""
    founder = make_candidate(0)
    first = make_candidate(1, parent=founder)
    second = make_candidate(2, parent=founder)
    mended = replace(second, attempt=1, candidate_id="mended", source="class TokenMixer:\n    mended = True\n")
    third = make_candidate(3, parent=founder)
    rows = [founder, first, second, mended, third]
    with Store.open(tmp_path) as store:
        store.append(*rows, make_verdict(first, 0.5))
    return tmp_path, rows


def test_attempts_of_one_number_are_told_apart(
    family: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = family
    assert main(["lineage", "1", "--run", str(folder)]) == 0
    siblings = capsys.readouterr().out.split("siblings\n")[1].splitlines()
    assert [line.split()[0] for line in siblings[:3]] == ["2.0", "2.1", "3"]
    for asked, chosen in (
        ("2", "mended"),
        ("2.1", "mended"),
        ("2.0", rows[2].candidate_id),
        (rows[4].candidate_id,) * 2,
    ):
        assert main(["lineage", asked, "--run", str(folder)]) == 0
        path = capsys.readouterr().out.split("siblings\n")[0].splitlines()
        assert path[2].split()[-1] == chosen


@pytest.mark.parametrize("asked", ["²", "9", "9" * 5_000, "2.7", "x\x1b"])
def test_a_candidate_that_is_not_there_is_one_clear_line(
    family: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    assert main(["lineage", asked, "--run", str(family[0])]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: no candidate '")
    assert told.endswith(": use a number up to 3, NUMBER.ATTEMPT, or an id\n")
    assert len(told) < 200


def _fake(wish: Wish) -> Any:
    raise NoVectors(f"asked with {wish.price} and {wish.budget_usd}")


def test_a_price_on_the_command_line_reaches_the_embedder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "entry", _fake, raising=False)
    point = EntryPoint(name="llm", value=f"{__name__}:entry", group=EMBEDDERS)
    monkeypatch.setattr("cognition.registered.entry_points", lambda group: [point])
    assert main(["search", "recall", "--embedder", "foo", "--price", "0.1", "0", "--budget-usd", "0.2"]) == 2
    assert capsys.readouterr().err == "error: asked with (0.1, 0.0) and 0.2\n"
    with pytest.raises(SystemExit):
        main(["search", "recall", "--embedder", "foo", "--price", "-1", "0"])


def test_a_check_prints_no_orders_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\x1b[31m.yaml").write_text("title: [")
    assert main(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.replace("\n", "").isprintable()
