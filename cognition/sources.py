"""Text out of a file: PDF, plain text, Markdown. Nothing of a file is executed or shown, only its text is taken.

Not covered: scanned pages (they need OCR), columns that a PDF draws out of order, formulas that are drawings.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".pdf", ".txt", ".md")
_MOST_BYTES = {".pdf": 100_000_000, ".txt": 5_000_000, ".md": 5_000_000}
_MOST_PAGES = 400
_MOST_CHARACTERS = 2_000_000
_LEAST_CHARACTERS = 80  # letters and digits; less is no text to take anything from
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_BROKEN_WORD = re.compile(r"([a-z])-\n([a-z])")


class SourceError(ValueError):
    """A file that no text can be had from; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The text of one file."""

    name: str  # of the file, without its folder
    text: str
    num_pages: int = 0  # 0: not a PDF
    stated_title: str = ""  # what the PDF says of itself; often nothing, often wrong


def read_source(path: Path) -> Source:
    """The text of a .pdf, .txt or .md file.

    Raises:
        SourceError: there is no such file, or no text in it.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise SourceError(f"no file {path}: name a {', '.join(SUFFIXES)} file")
    if not path.is_file():
        raise SourceError(f"{path} is no file: name one {', '.join(SUFFIXES)} file at a time")
    if suffix not in SUFFIXES:
        raise SourceError(f"{path} ends with {suffix!r}: use {', '.join(SUFFIXES)}; save its text as .txt")
    size = path.stat().st_size
    if size > _MOST_BYTES[suffix]:
        raise SourceError(
            f"{path} has {size:,} bytes, the most is {_MOST_BYTES[suffix]:,}: save the part that matters as .txt"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror or error}): mend its permissions") from error
    source = _from_pdf(path) if suffix == ".pdf" else Source(name=path.name, text=_decoded(path, data))
    if sum(letter.isalnum() for letter in source.text) < _LEAST_CHARACTERS:
        if suffix == ".pdf":
            raise SourceError(
                f"{path} holds no text on its {source.num_pages} pages, only pictures perhaps: run OCR first "
                "(`ocrmypdf in.pdf out.pdf`), or save its text as .txt"
            )
        raise SourceError(f"{path} has almost no text ({len(source.text)} characters): write what it is about first")
    return source


def _decoded(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\x00" in data:
        raise SourceError(f"{path} is not text (it holds zero bytes): save it as UTF-8 text")
    else:
        encoding = "utf-8-sig"
    try:
        return _cleaned(data.decode(encoding))
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error


def _from_pdf(path: Path) -> Source:
    from pypdf import PdfReader

    with _quiet_pypdf():
        try:
            reader = PdfReader(path, strict=False)
            if reader.is_encrypted and not _opened(reader):
                raise SourceError(
                    f"{path} is encrypted: remove its password (`qpdf --decrypt --password=... in.pdf out.pdf`), "
                    "or save its text as .txt"
                )
            pages, length = [], 0
            for page in reader.pages[:_MOST_PAGES]:
                pages.append(page.extract_text() or "")
                length += len(pages[-1])
                if length > _MOST_CHARACTERS:
                    break
            stated = (reader.metadata.title if reader.metadata else None) or ""
        except SourceError:
            raise
        except Exception as error:  # what a broken or hostile PDF does to a parser is not foreseeable
            what = " ".join(str(error).split())[:200] or type(error).__name__
            raise SourceError(
                f"{path} cannot be read as PDF ({type(error).__name__}: {what}): print it to a new PDF, or save its "
                "text as .txt"
            ) from error
    return Source(
        name=path.name, text=_cleaned("\n".join(pages)), num_pages=len(pages), stated_title=_cleaned(str(stated))
    )


def _opened(reader: object) -> bool:
    """Whether the empty password opens it: many files are encrypted against printing only."""
    from pypdf.errors import DependencyError

    try:
        return bool(reader.decrypt(""))  # type: ignore[attr-defined]
    except (DependencyError, NotImplementedError):  # AES wants another package
        return False


@contextmanager
def _quiet_pypdf() -> Iterator[None]:
    """Its complaints about the file's inner order are nobody's concern here."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _cleaned(text: str) -> str:
    """Printable text with plain line ends; words that were broken at a line's end are whole again."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LIGATURES)
    text = "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)
    return _BROKEN_WORD.sub(r"\1\2", text).strip()[:_MOST_CHARACTERS]
