from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import kernels.dispatch
from cognition.library import Library, LibraryError, load_library, paper_from, read_paper, shipped_folder
from cognition.words import terms_of
from models.slots import SLOTS

# What facts.md calls the field's own literature, and what came after.
_NAMED = """
    2006.16236 2102.11174 2009.14794 2102.03902 2103.02143 2105.14103 1812.01243 2202.08791 2204.04667 2111.00396
    2208.04933 2212.14052 2302.10866 2303.06349 2310.12109 2311.05908 2307.08621 2307.14995 2311.01927 2311.04823
    2312.06635 2404.07904 2401.04658 2409.07146 2410.06577 2405.04517 2402.19427 2305.13048 2404.05892 2501.08313
    2312.00752 2405.21060 2406.07887 2406.06484 2412.06464 2502.10297 2411.12537 2407.04620 2501.00663 2505.23735
    2505.23884 2506.05233 2506.02475 2506.04761 2505.16381 2505.19488 2312.04927 2402.18668 2402.10644 2402.04347
    2410.10254 2410.01651 2407.06324 2209.10655 2306.09539 2403.19887 2405.16712 2505.06708 2503.02130 2502.01578
    2502.11089 2205.14135 2307.08691 2310.01889 2311.09431 1911.02150 2305.13245 2510.26692 2503.14456 2501.12352
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def values(**more: Any) -> dict[str, Any]:
    """A file that is as it should be."""
    entry = {
        "name": "one",
        "slots": ["token_mixer"],
        "trigger": "Recall stays near chance while the loss on text is fine.",
        "wordings": ["Lookups fail although perplexity is level."],
        "insight": "Replace what a key was bound to before, rather than adding to it.",
        "mechanism": "One gradient step on the squared error between what is read and what is written.",
        "equation": "S = S (I - b k k^T) + b v k^T",
        "implementation": "o = delta_rule(q, k, v, beta), k of unit length, beta [B, T, H] a sigmoid of a linear map.",
        "operators": ["delta_rule"],
        "cost": "A triangular solve per chunk.",
        "state": "H K V floats.",
        "failure_modes": "Keys that are not normalised make the state diverge.",
    }
    paper = {"title": "A paper", "identifier": "arXiv:2406.06484", "year": 2024, "topic": "delta_rule"}
    return {**paper, "entries": [{**entry, **more.pop("entry", {})}], **more}


def write(folder: Path, name: str, **more: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values(**more)))
    return path


def test_the_shipped_library_holds_a_hundred_papers_and_those_that_the_field_is_built_on(library: Library) -> None:
    assert len(library.papers) >= 100
    identifiers = {paper.identifier.removeprefix("arXiv:") for paper in library.papers.values()}
    assert not set(_NAMED.split()) - identifiers
    assert all(paper.identifier for paper in library.papers.values())


@pytest.mark.parametrize("path", sorted(shipped_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_keeps_the_schema_and_names_what_exists(path: Path) -> None:
    paper, entries = read_paper(path)
    assert 1 <= len(entries) <= 3
    for entry in entries:
        assert set(entry.slots) <= set(SLOTS), entry.entry_id
        assert set(entry.operators) <= set(kernels.dispatch.__all__), entry.entry_id
        assert len(entry.wordings) >= 3, f"{entry.entry_id}: other words make it findable"
        assert not set(terms_of(paper.title)) >= set(terms_of(entry.trigger)), "a trigger is a symptom, not a title"
    assert "http" not in path.read_text()


def test_operators_of_an_entry_stand_in_its_implementation(library: Library) -> None:
    absent = [
        (entry.entry_id, operator)
        for entry in library.entries.values()
        for operator in entry.operators
        if operator not in entry.implementation + entry.mechanism
    ]
    assert not absent


def test_no_two_shipped_papers_are_one(library: Library) -> None:
    for field in ("title", "identifier"):
        seen = [getattr(paper, field).lower() for paper in library.papers.values()]
        assert len(set(seen)) == len(seen)


def test_a_folder_of_ones_own_joins_the_shipped_library(tmp_path: Path, library: Library) -> None:
    write(tmp_path, "our_notes", identifier="", title="What we saw last spring", extends=["delta_net"])
    joined = load_library([tmp_path])
    assert joined.papers["our_notes"].library == str(tmp_path)
    assert joined.paper_of("our_notes/one").extends == ("delta_net",)
    assert len(joined.papers) == len(library.papers) + 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"title": 7}, "title is 7: a text is needed"),
        ({"identifier": "2406.06484"}, "identifier '2406.06484' is none: use arXiv:"),
        ({"year": "2024"}, "year is '2024'"),
        ({"topic": "delta"}, "topic is 'delta': use one of linear_attention"),
        ({"entries": []}, "entries has to be a list of 1 to 3"),
        ({"extend": ["x"]}, "unknown key 'extend', did you mean 'extends'?"),
        ({"entry": {"name": "Two words"}}, r"entries\[0\]: name is 'Two words'"),
        ({"entry": {"trigger": "short"}}, "trigger has 5 characters: use 40 to 400"),
        ({"entry": {"equation": None}}, "equation is None: a text is needed"),
        ({"entry": {"insight": "TODO " * 20}}, "insight still says TODO: fill it in"),
        ({"entry": {"slots": []}}, "slots is empty"),
        ({"entry": {"operators": "delta_rule"}}, "operators is 'delta_rule': a list of texts"),
        ({"entry": {"operators": ["x" * 61]}}, r"operators\[0\] has 61 characters: use 1 to 60"),
        ({"entry": {"slots": ["token_mixer"] * 9}}, "slots has 9 items: use 8 at most"),
        ({"entry": {"wordings": ["short"]}}, r"wordings\[0\] has 5 characters: use 8 to 400"),
        ({"entry": {"wordings": ["words " * 70_000]}}, r"wordings\[0\] has 419999 characters: use 8 to 400"),
        ({"entry": {"wordings": ["a few words of it"] * 31}}, "wordings has 31 items: use 30 at most"),
        ({"extends": ["x" * 61]}, r"extends\[0\] has 61 characters"),
        ({"title": "An \x1b[31mend"}, r"title has U\+001B at character 4, which nobody sees: remove it"),
        ({"title": "An \u202eend"}, r"title has U\+202E at character 4"),
        ({"title": "Half \ud800 a pair"}, r"title has U\+D800 at character 6"),
        ({"entry": {"wordings": ["Seen words\U000e0041\U000e0042"]}}, r"wordings\[0\] has U\+E0041 at character 11"),
        ({"entry": {"equation": "S = 1\nT =\u200b 2"}}, r"equation has U\+200B at character 10"),
        ({"entry": {"equation": "S = 1\tT = 2"}}, r"equation has U\+0009 at character 6"),
        ({"entry": {"operators": ["delta\ufe0f_rule"]}}, r"operators\[0\] has U\+FE0F"),
        ({"identifier": "arXiv:9999.99999"}, "identifier 'arXiv:9999.99999' is none"),
        ({"identifier": "arXiv:2400.01234"}, "identifier 'arXiv:2400.01234' is none"),
        ({"identifier": "arXiv:1412.12345"}, "identifier 'arXiv:1412.12345' is none"),
        ({"identifier": "arXiv:1501.1234"}, "identifier 'arXiv:1501.1234' is none"),
        ({"identifier": "doi:10.1000/\u202ex"}, "identifier 'doi:10.1000/.u202ex' is none"),
        ({"identifier": ["x"] * 10_000}, r"identifier \['x', 'x'"),
        ({"topic": "x" * 10_000}, r"topic is 'x+\.\.\.x+'"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_a_file_that_breaks_the_schema_is_refused_with_its_place(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LibraryError, match=complaint) as caught:
        paper_from(values(**change), "a_paper", "papers/a_paper.yaml", "shipped")
    assert str(caught.value).startswith("papers/a_paper.yaml")
    assert len(str(caught.value)) < 400


def test_a_number_that_python_does_not_write_is_told() -> None:
    with pytest.raises(LibraryError, match="year is a int too long to show: use the year of the first version"):
        paper_from(values(year=16**9_000), "a_paper", "p", "shipped")


@pytest.mark.parametrize(
    "identifier", ["arXiv:1412.1234", "arXiv:1501.01234", "arXiv:0704.0001", "arXiv:cs/0112017", ""]
)
def test_identifiers_as_they_are_given_are_taken(identifier: str) -> None:
    assert paper_from(values(identifier=identifier), "a_paper", "p", "shipped")[0].identifier == identifier


def test_lines_of_an_equation_stay_and_those_of_other_texts_are_joined() -> None:
    more = {
        "equation": "S = 1\n  T = 2\n",
        "insight": "Replace what a key was bound to before,\n\trather than adding to all of it.",
    }
    _, (found,) = paper_from(values(entry=more), "a_paper", "p", "shipped")
    assert found.equation == "S = 1\n  T = 2"
    assert found.insight == "Replace what a key was bound to before, rather than adding to all of it."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("year: 2024-13-45", r"a value looks like a date or a number and is none \(month must be in 1\.\.12\)"),
        (f"year: {'9' * 5_000}", "a value looks like a date or a number and is none"),
        (f"year: {':'.join(['59'] * 400)}.0", "a value looks like a date or a number and is none"),
        (f"year: {'[' * 3_000}{']' * 3_000}", "line 1: it is nested more than 16 deep"),
        ('title: "half \\ud800 a pair"', "line 1: .*(surrogate|Unicode character)"),
        ("title: &a [x]\nyear: [*a, *a]", "line 1: aliases and anchors are not read"),
        ("title: x\nyear: *a", "line 2: aliases and anchors are not read"),
        ("title: x\nyear: !!timestamp now", "line 2: tags are not read"),
        (f"title: {'x' * 1_000_000}", "it has more than 1,000,000 bytes"),
        ("title: \x1b", "unacceptable character|control characters"),
    ],
    ids=["date", "number", "base_60", "depth", "surrogate", "anchor", "alias", "tag", "size", "control"],
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_broken_and_hostile_yaml_is_one_complaint_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, text: str, complaint: str
) -> None:
    monkeypatch.setattr("cognition.plain_yaml._LOADER", getattr(yaml, loader, yaml.SafeLoader))
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(LibraryError, match=rf"mine\.yaml cannot be read: .*({complaint})") as caught:
        load_library([tmp_path], shipped=False)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_utf_8_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"title: \xff")
    with pytest.raises(LibraryError, match=r"mine\.yaml cannot be read: it is not UTF-8 text \(byte 7\)"):
        load_library([tmp_path], shipped=False)


def test_files_that_cannot_be_read_and_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("title: [")
    with pytest.raises(LibraryError, match=r"broken\.yaml cannot be read"):
        load_library([tmp_path])
    with pytest.raises(LibraryError, match=r"no folder .*nowhere"):
        load_library([tmp_path / "nowhere"])


def test_one_paper_in_two_files_and_relations_to_nothing_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "mine")
    with pytest.raises(LibraryError, match=r"mine\.yaml and .*delta_net\.yaml are both arXiv:2406\.06484"):
        load_library([tmp_path])
    write(tmp_path, "mine", identifier="", extends=["delta_nets"])
    with pytest.raises(LibraryError, match=r"extends names 'delta_nets', .* did you mean 'delta_net'"):
        load_library([tmp_path])
