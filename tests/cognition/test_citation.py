from __future__ import annotations

from pathlib import Path

import pytest

from cognition.citation import citation_in, normalised, paper_id_of, title_in, year_of
from cognition.sources import Source, read_source
from tests.cognition.documents import BODY, TITLE, paper_pdf


def source(text: str, name: str = "p.txt", stated_title: str = "") -> Source:
    return Source(name=name, text=text, stated_title=stated_title)


def test_a_stamped_paper_says_all_of_itself(tmp_path: Path) -> None:
    found = citation_in(read_source(paper_pdf(tmp_path / "p.pdf")), this_year=2026)
    assert (found.title, found.identifier, found.year, found.notes) == (TITLE, "arXiv:2503.01234", 2025, ())


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("A title of it\narXiv:2503.01234v1 [cs.LG] 3 Mar 2025", "arXiv:2503.01234"),
        ("A title of it\narXiv: 1406.1078 [cs.CL]", "arXiv:1406.1078"),
        ("A title of it\narXiv:cs/0112017 [cs.NE]", "arXiv:cs/0112017"),
        ("A title of it\nhttps://arxiv.org/abs/2503.01234v3", "arXiv:2503.01234"),
        ("A title of it\narXiv preprint arXiv:2503.01234, 3 Mar 2025", "arXiv:2503.01234"),
        ("A title of it\n2503.01234v2 [cs.LG]", "arXiv:2503.01234"),
        ("A title of it\n- **arXiv:** 2503.01234 (2025)", "arXiv:2503.01234"),
        ("A title of it\narXiv:2503.01234v1  [cs.LG]  3 Mar 2025Rotated gates, as a PDF draws it", "arXiv:2503.01234"),
        ("A title of it\nWe compare with arXiv:2312.00752\nPreprint. arXiv:2503.01234v1", "arXiv:2503.01234"),
        ("A title of it\nhttps://doi.org/10.1162/neco.1997.9.8.1735.", "doi:10.1162/neco.1997.9.8.1735"),
        ("A title of it\nDOI: 10.1000/xyz123", "doi:10.1000/xyz123"),
    ],
)
def test_the_texts_own_identifier_is_found(text: str, identifier: str) -> None:
    assert citation_in(source(f"{text}\n{BODY}"), this_year=2026).identifier == identifier


def test_the_name_of_the_file_says_it_where_the_text_does_not() -> None:
    found = citation_in(source(f"A title of it\n{BODY}", name="2503.01234v2.pdf"), this_year=2026)
    assert (found.identifier, found.year) == ("arXiv:2503.01234", 2025)


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        (
            "A title\narXiv:2503.01234\narXiv:2503.09999",
            "p.txt",
            "several identifiers are named: arXiv:2503.01234, arX",
        ),
        ("A title\narXiv:2503.01234 [cs.LG]", "2406.06484.pdf", "several identifiers"),
        ("A title\narXiv:2413.01234 [cs.LG]", "p.txt", "arXiv:2413.01234 is in the text, and no arXiv id"),
        ("A title\narXiv:2703.01234 [cs.LG]", "p.txt", "no arXiv id can be that"),  # not yet
        ("A title\narXiv:2503.0123 [cs.LG]", "p.txt", "no arXiv id can be that"),  # five digits since 2015
        ("A title\ndoi:10.1000/a\ndoi:10.1000/b", "p.txt", "several identifiers"),
        ("A title", "p.txt", "no identifier was found"),
        (
            "A title\nWe use the delta rule, see arXiv:2406.06484, and rotate what it gates away.",
            "p.txt",
            "no identifier",
        ),
        ("A title\nWe compare with arXiv:2312.00752", "p.txt", "no identifier"),
        ("A title\nWe compare with arXiv:2312.00752v2 [cs.LG] 31 May 2024", "p.txt", "no identifier"),
        ("A title\narXiv:2312.00752 is what we compare with", "p.txt", "no identifier"),
        ("A title\nCode for doi:10.1000/a", "p.txt", "no identifier"),
        (f"A title\n{BODY * 10}\nReferences\narXiv:2406.06484", "p.txt", "no identifier"),
    ],
)
def test_a_doubtful_identifier_is_left_open_with_the_reason(text: str, name: str, note: str) -> None:
    found = citation_in(source(text, name=name), this_year=2026)
    assert found.identifier == ""
    assert note in " ".join(found.notes)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Published as a conference paper at ICLR 2025\n\nGated Nets for All\nA. Writer", "Gated Nets for All"),
        ("arXiv:2503.01234v1 [cs.LG]\n3 Mar 2025\nA Study of\nSmall States\nA. Writer", "A Study of Small States"),
        ("Rotation: Gates that\nturn\n\nA. Writer", "Rotation: Gates that turn"),
        ("1\n\n***\nTwo words\nand more", "Two words and more"),
        ("12345", ""),
    ],
)
def test_the_title_is_the_first_line_that_can_be_one(text: str, title: str) -> None:
    assert title_in(source(text)) == title


def test_what_a_pdf_says_of_itself_counts_if_its_text_says_so_too() -> None:
    text = "Running head of it\nGated Nets\nfor All\nA. Writer"
    assert title_in(source(text, stated_title="Gated Nets for All")) == "Gated Nets for All"
    assert title_in(source(text, stated_title="untitled draft v3")) == "Running head of it"


def test_a_heading_is_the_title_of_notes() -> None:
    assert title_in(source("some words first\n\n# What we saw\n\ntext", name="n.md")) == "What we saw"


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("A title\n12 March 2025. We follow others (Katharopoulos et al., 2020; Yang, 2026).", 2025),
        ("A title, 2019, revised 2021", 2021),
        ("A title of 2999 and 1024 tokens", None),
        ("A title with 2.2025 and 12025", None),
    ],
)
def test_the_year_is_the_latest_that_is_no_citations(text: str, year: int | None) -> None:
    assert citation_in(source(text), this_year=2026).year == year


def test_old_identifiers_have_their_year() -> None:
    assert [
        year_of(one) for one in ("arXiv:cs/9901001", "arXiv:hep-th/0701001", "arXiv:1406.1078", "doi:10.1/x", "")
    ] == [
        1999,
        2007,
        2014,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        (TITLE, "rotated_gates_keep_what_linear"),
        ("Gated Delta Networks: Improving Mamba2 with Delta Rule", "gated_delta_networks"),
        ("RWKV-7: Goose with dynamic states", "rwkv_7_goose_dynamic_states"),
        ("../../etc/passwd; rm -rf", "etc_passwd_rm_rf"),
        ("Überblick", "berblick"),
        ("注意力", "file"),
        ("x" * 200, "x" * 40),
    ],
)
def test_a_name_is_short_and_safe(title: str, name: str) -> None:
    assert paper_id_of(title, "file") == name


def test_spellings_of_one_title_are_the_same() -> None:
    assert normalised("Mamba: Linear-Time  Modeling!") == normalised("MAMBA linear time modeling")
