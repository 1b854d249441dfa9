from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cognition import adding
from cognition.adding import Added, Check, Extraction, ExtractionFailed, Plan, Refused, add_paper
from cognition.draft import filled, one_line
from cognition.library import LENGTHS, LibraryError, load_library, paper_from, read_paper
from tests.cognition.documents import BODY, TITLE, entry, paper_pdf, values

TODAY = date(2026, 5, 4)
NAME = "rotated_gates_keep_what_linear"


@dataclass
class Reader:
    """An extractor that says what it is told to say."""

    values: Mapping[str, Any]
    failure: ExtractionFailed | None = None
    asked: list[str] = field(default_factory=list)

    def plan(self, text: str) -> Plan:
        return Plan(model="m/1\n# x", num_characters=len(text), num_left_out=0, expected_usd=0.01, worst_usd=0.02)

    def extract(self, text: str, check: Check) -> Extraction:
        self.asked.append(text)
        if self.failure is not None:
            raise self.failure
        check(self.values)
        return Extraction(values=self.values, model="m/1\n# x", usd=0.011)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab's folder, beside a shipped library with one paper."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    known = values(title="Known Paper on Known Gates", entries=[entry(name="known")], identifier="arXiv:2001.00001")
    words = {
        name: f"{known['entries'][0][name]} {'Filters of long reach by Fourier transforms. ' * 3}"
        for name in ("insight", "mechanism")
    }
    known["entries"][0] |= {**words, "trigger": "Long filters blur the order of events in periodic signals of sensors."}
    (shipped / "known.yaml").write_text(yaml.safe_dump(known))
    monkeypatch.setattr("cognition.duplicates.shipped_folder", lambda: shipped)
    return tmp_path / "own"


def add(path: Path, folder: Path, **more: Any) -> Added:
    return add_paper(path, folder, today=TODAY, **more)


def note(folder: Path, text: str, name: str = "note.md") -> Path:
    path = folder.parent / name
    path.write_text(f"{text}\n\n{BODY}")
    return path


def test_without_a_model_a_skeleton_says_what_belongs_where(folder: Path) -> None:
    added = add(paper_pdf(folder.parent / "p.pdf"), folder)
    assert (added.path, added.num_entries) == (folder / f"{NAME}.yaml", 0)
    text = added.path.read_text()
    found = yaml.safe_load(text)
    assert (found["title"], found["identifier"], found["year"]) == (TITLE, "arXiv:2503.01234", 2025)
    lines = text.splitlines()
    assert text.count("TODO") == 1 + len(LENGTHS) + 2  # the header's, topic, name, and each text
    for name in (*LENGTHS, "title", "identifier", "year", "topic", "name", "slots", "wordings", "operators"):
        (place,) = [at for at, line in enumerate(lines) if line.removeprefix("  - ").strip().startswith(f"{name}:")]
        assert lines[place - 1].lstrip().startswith("#"), name
    assert max(map(len, lines)) < 120
    with pytest.raises(LibraryError, match=r"rotated_gates.*TODO"):
        load_library([folder], shipped=False)


def test_a_skeleton_is_refused_until_its_last_field_is_filled_in(folder: Path) -> None:
    path = add(paper_pdf(folder.parent / "p.pdf"), folder).path
    found = yaml.safe_load(path.read_text())
    found["topic"] = "gated_recurrence"
    for name in ("name", *LENGTHS):
        with pytest.raises(LibraryError):
            paper_from(found, path.stem, "p", "own")
        found["entries"][0][name] = entry()[name]
    paper_from(found, path.stem, "p", "own")
    for name in ("wordings", "operators", "slots"):
        with pytest.raises(LibraryError, match=f"{name} still says TODO"):
            paper_from({**found, "entries": [{**found["entries"][0], name: ["TODO"]}]}, path.stem, "p", "own")


def test_what_an_extractor_found_is_written_for_review(folder: Path) -> None:
    said: list[str] = []
    reader = Reader(values=values())
    added = add(paper_pdf(folder.parent / "p\n.pdf"), folder, extractor=reader, say=said.append)
    text = added.path.read_text()
    assert text.startswith("# extracted by m/1 # x from p .pdf on 2026-05-04: review before use\n")
    assert "# unverified: taken from the text, look it up\nidentifier: arXiv:2503.01234\n" in text
    assert "    trigger: >-\n      Recall" in text
    assert max(map(len, text.splitlines())) < 120
    paper, entries = read_paper(added.path)
    assert (paper.year, paper.topic, added.num_entries) == (2025, "gated_recurrence", 1)
    assert entries[0].equation == entry()["equation"]
    assert reader.asked[0].startswith(TITLE)
    assert "about $0.0100, with a correction at most $0.0200" in said[1]
    assert "$0.0110" in said[2]
    load_library([folder], shipped=False)


def test_identifier_and_title_are_not_a_models_to_say(folder: Path) -> None:
    made_up = values(title="Attention Is All You Need", identifier="arXiv:1706.03762", year=2017)
    text = add(paper_pdf(folder.parent / "p.pdf"), folder, extractor=Reader(values=made_up)).path.read_text()
    assert f"title: {TITLE}" in text
    assert "the extractor's title is not in the text" in text
    assert "arXiv:2503.01234" in text
    assert "1706" not in text
    assert "year: 2025" in text


def test_a_better_reading_of_the_title_counts_if_the_text_has_it(folder: Path) -> None:
    path = note(folder, "Journal of Gates\nA Longer Title of Mine", "n.txt")
    added = add(path, folder, extractor=Reader(values=values(title="A longer title of mine")))
    assert added.path.name == "longer_title_mine.yaml"


def test_a_given_identifier_counts(folder: Path) -> None:
    path = note(folder, "# A note on gates")
    added = add(path, folder, identifier="arXiv:2406.06484")
    assert (added.citation.identifier, added.citation.year) == ("arXiv:2406.06484", 2024)
    for wrong in ("2406", "arXiv:9999.99999", "arXiv:2413.01234", "doi:10.1000/\x1b[31m"):
        with pytest.raises(Refused, match=r"--identifier '.*' is none: use arXiv:"):
            add(path, folder, identifier=wrong)


def test_a_known_identifier_is_refused_with_its_file(folder: Path) -> None:
    path = note(folder, "# Another title\n\narXiv:2001.00001")
    reader = Reader(values=values())
    with pytest.raises(Refused, match=r"shipped/known\.yaml has the same identifier, arXiv:2001\.00001.*--force"):
        add(path, folder, extractor=reader)
    assert not reader.asked  # nothing was paid for
    assert not folder.exists()
    added = add(path, folder, force=True)
    assert "belongs to" in added.path.read_text()
    assert yaml.safe_load(added.path.read_text())["identifier"] == ""  # two files with one could not be loaded


def test_a_known_title_is_refused_however_it_is_spelt(folder: Path) -> None:
    path = note(folder, "# KNOWN PAPER: on known-gates")
    with pytest.raises(Refused, match=r"known\.yaml has the same title"):
        add(path, folder)
    assert add(path, folder, force=True).path.exists()


def test_a_draft_in_the_folder_is_known_too(folder: Path) -> None:
    add(note(folder, "# A first note"), folder)
    with pytest.raises(Refused, match=r"own/first_note\.yaml has the same title"):
        add(note(folder, "# A first note", "other.md"), folder)
    (folder / "broken.yaml").write_text("title: [")
    assert add(note(folder, "# A second note"), folder).path.name == "second_note.yaml"


def test_entries_that_say_nearly_the_same_are_refused(folder: Path) -> None:
    add(paper_pdf(folder.parent / "p.pdf"), folder, extractor=Reader(values=values()))
    reworded = entry(
        trigger="Recall of early pairs fades within some hundred tokens, although the gate stays mostly open.",
        insight="Rotate a gate before it is multiplied with the state: only chosen directions are forgotten then.",
    )
    other = Reader(values=values(title="A note on turning", entries=[reworded]))
    path = note(folder, "# A note on turning")
    with pytest.raises(Refused, match=rf"own/{NAME}\.yaml has an entry that says nearly the same \(cosine 0\.\d\d\)"):
        add(path, folder, extractor=other)
    assert len(list(folder.glob("*.yaml"))) == 1
    assert add(path, folder, extractor=other, force=True).num_entries == 1


def test_a_refused_extraction_was_paid_for_and_is_kept_where_the_library_does_not_look(folder: Path) -> None:
    add(paper_pdf(folder.parent / "p.pdf"), folder, extractor=Reader(values=values()))
    other = Reader(values=values(title="A note on turning"))
    path = note(folder, "# A note on turning")
    for name in ("note_turning.rejected", "note_turning_2.rejected"):
        with pytest.raises(Refused, match=rf"cosine 1\.00.*kept in .*{name}: give it a name that ends with \.yaml"):
            add(path, folder, extractor=other)
    assert sorted(one.suffix for one in folder.iterdir()) == [".rejected", ".rejected", ".yaml"]
    assert len(load_library([folder], shipped=False).papers) == 1
    kept = (folder / "note_turning.rejected").rename(folder.parent / "note_turning.yaml")
    assert read_paper(kept)[0].title == "A note on turning"


def test_a_title_that_only_the_extractor_knows_is_kept_as_well(folder: Path) -> None:
    path = note(folder, "Some line or other\nKnown Paper on Known Gates", "n.txt")
    with pytest.raises(Refused, match=r"known\.yaml has the same title.*known_paper_known_gates\.rejected"):
        add(path, folder, extractor=Reader(values=values(title="Known Paper on Known Gates")))


def test_what_nobody_sees_in_a_models_words_is_not_written(folder: Path) -> None:
    hidden = entry(insight=entry()["insight"] + "\u202e\U000e0041\x1b[31m so it is\ufe0f")
    added = add(paper_pdf(folder.parent / "p.pdf"), folder, extractor=Reader(values=values(entries=[hidden])))
    assert read_paper(added.path)[1][0].insight == entry()["insight"] + " [31m so it is"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_exists_is_never_overwritten(folder: Path, force: bool) -> None:
    folder.mkdir()
    target = folder / "note_gates.yaml"
    target.write_text("mine")
    reader = Reader(values=values())
    with pytest.raises(Refused, match=r"own/note_gates\.yaml exists and is not overwritten"):
        add(note(folder, "# A note on gates"), folder, extractor=reader, force=force)
    assert target.read_text() == "mine"
    assert not reader.asked


def test_a_name_that_the_shipped_library_has_gets_a_number(folder: Path) -> None:
    assert add(note(folder, "# Known"), folder).path.name == "known_2.yaml"


def test_a_file_that_appears_meanwhile_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = adding._publish

    def late(part: Path, target: Path) -> None:
        target.write_text("somebody's")
        publish(part, target)

    monkeypatch.setattr(adding, "_publish", late)
    with pytest.raises(Refused, match="exists and is not overwritten"):
        add(note(folder, "# A note on gates"), folder)
    assert [path.read_text() for path in folder.iterdir()] == ["somebody's"]


def test_a_file_system_without_links_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", no_links)
    path = add(note(folder, "# A note on gates"), folder).path
    assert [path] == list(folder.iterdir())


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(Refused, match=r"cannot be written.*is no folder.*--into"):
        add(note(folder, "# A note on gates"), folder)


def test_a_failure_leaves_nothing_behind(folder: Path) -> None:
    reader = Reader(values=values(), failure=ExtractionFailed("no entries: timeout"))
    with pytest.raises(ExtractionFailed):
        add(paper_pdf(folder.parent / "p.pdf"), folder, extractor=reader)
    assert not folder.exists()


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@settings(deadline=None)
@given(_TEXT, _TEXT, _TEXT)
def test_whatever_a_model_says_comes_back_from_the_file(line: str, wording: str, equation: str) -> None:
    """As far as it can be printed, and but for white space; no text becomes a key, a comment or another type."""
    filler = " so it is, and this is long enough to be an entry's text in the library, as are all of them; it is."
    found = {name: (line + filler)[: LENGTHS[name][1]] for name in LENGTHS if name != "equation"}
    made = values(title=f"T {line}"[:300], entries=[entry(**found, wordings=[wording], equation=f"S = {equation}")])
    back = yaml.safe_load(filled(made, ["one\ntwo"], {"title": f"note {line}"}))
    assert set(back) == {"title", "year", "topic", "entries"}
    (row,) = back["entries"]
    assert set(row) == set(made["entries"][0])
    for name in LENGTHS:
        assert "".join(row[name].split()) == one_line(made["entries"][0][name]).replace(" ", ""), name
    assert row["wordings"] == [text for text in [one_line(wording)] if text]
    assert back["title"] == one_line(made["title"])
