from __future__ import annotations

from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from cognition.sources import SourceError, read_source
from tests.cognition.documents import BODY, TITLE, paper_pdf, pdf


def test_a_pdf_gives_its_text_page_by_page(tmp_path: Path) -> None:
    source = read_source(paper_pdf(tmp_path / "p.pdf"))
    assert source.num_pages == 2
    assert source.text.startswith(TITLE)
    assert "key value pairs improves" in " ".join(source.text.split())


def test_words_broken_at_a_line_end_are_whole_and_what_cannot_be_printed_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "n.txt"
    path.write_bytes(f"linear atten-\r\ntion with ﬁlters \x1b[31m and more\x07\n{BODY}".encode())
    text = read_source(path).text
    assert "linear attention with filters" in text
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_usual_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "n.md"
    path.write_text(f"# Überblick\n{BODY}", encoding=encoding)
    assert read_source(path).text.startswith("# Überblick")


def test_a_pdf_that_only_forbids_printing_is_read(tmp_path: Path) -> None:
    writer = PdfWriter(clone_from=PdfReader(paper_pdf(tmp_path / "p.pdf")))
    writer.encrypt(user_password="", owner_password="secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    assert read_source(tmp_path / "locked.pdf").text.startswith(TITLE)


def encrypted(path: Path) -> Path:
    writer = PdfWriter(clone_from=PdfReader(paper_pdf(path)))
    writer.encrypt(user_password="secret", algorithm="RC4-128")
    writer.write(path)
    return path


def garbage(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 40)
    return path


def broken(path: Path) -> Path:
    data = paper_pdf(path).read_bytes()
    path.write_bytes(data[: len(data) // 3])
    return path


def large(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(6_000_000)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "name", "told"),
    [
        (lambda path: path, "absent.pdf", r"no file .*absent\.pdf: name a \.pdf"),
        (lambda path: path.mkdir() or path, "folder.pdf", "is no file"),
        (lambda path: written(path, b"x"), "paper.docx", r"ends with '\.docx': use \.pdf"),
        (lambda path: written(path, b"x"), "paper", r"ends with ''"),
        (encrypted, "e.pdf", "is encrypted: remove its password"),
        (lambda path: pdf(path, [[], []]), "i.pdf", "holds no text on its 2 pages.*ocrmypdf"),
        (garbage, "g.pdf", "cannot be read as PDF"),
        (broken, "b.pdf", "(cannot be read as PDF|holds no text)"),
        (lambda path: written(path, b""), "z.pdf", "cannot be read as PDF"),
        (garbage, "g.txt", "is not text.*save it as UTF-8"),
        (lambda path: written(path, b"caf\xe9 " * 50), "l.txt", r"is not UTF-8 text \(byte 3\)"),
        (large, "l.md", "has 6,000,000 bytes, the most is 5,000,000"),
        (lambda path: written(path, b"short"), "s.txt", "almost no text"),
        (lambda path: written(path, b""), "s.md", "almost no text"),
    ],
)
def test_a_file_without_text_is_refused_with_the_remedy(tmp_path: Path, make, name: str, told: str) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / name)
    with pytest.raises(SourceError, match=told) as refused:
        read_source(path)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
