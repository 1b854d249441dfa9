"""Whether the threshold tells papers apart: measured on what is shipped, and on texts that say the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from cognition.commands.check import complaints_about
from cognition.duplicates import TOO_SIMILAR, known_in, same_paper, similar_paper, text_of
from cognition.embedding import HashedNgrams
from cognition.library import shipped_folder
from tests.cognition.documents import entry, values

OTHER = entry(
    name="long_filter",
    trigger="Periodic signals are told apart badly; loss stalls on data whose patterns return after long fixed lags.",
    insight="A filter as long as the sequence sees every lag at once, and Fourier transforms make it cheap to apply.",
    mechanism="The filter is the output of a small network of the position, so its parameters do not grow with length.",
)


def reworded(text: str) -> str:
    """A light rewording: every twelfth word gone, the first sentence last."""
    words = [word for place, word in enumerate(text.split()) if place % 12 != 5]
    sentences = re.split(r"(?<=[.;]) ", " ".join(words))
    return " ".join(sentences[1:] + sentences[:1])


def texts_of(folder: Path) -> list[tuple[str, str]]:
    return [(paper.paper_id, text) for paper in known_in([folder]) for text in paper.texts]


def test_no_two_shipped_papers_are_too_similar_and_a_rewording_is() -> None:
    if not shipped_folder().is_dir():
        pytest.skip("no papers are shipped yet")
    found = texts_of(shipped_folder())
    embedder = HashedNgrams()
    vectors = embedder.embed([text for _, text in found])
    cosines = vectors @ vectors.T
    papers = np.array([paper for paper, _ in found])
    cosines[papers[:, None] == papers[None, :]] = 0.0
    place = np.unravel_index(int(cosines.argmax()), cosines.shape)
    assert cosines.max() < TOO_SIMILAR, f"{found[place[0]]} and {found[place[1]]}"
    again = embedder.embed([reworded(text) for _, text in found])
    assert (again * vectors).sum(axis=1).min() > TOO_SIMILAR


def test_a_light_rewording_is_too_similar_and_another_idea_is_not(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_text(yaml.safe_dump(values(entries=[OTHER, entry()])))
    known = known_in([tmp_path])
    same = entry(**{name: reworded(f"{entry()[name]} So it is.") for name in ("trigger", "insight", "mechanism")})
    found = similar_paper([OTHER | {"trigger": "x", "insight": "y", "mechanism": "z"}, same], known)
    assert found is not None
    assert found.known.path == tmp_path / "known.yaml"
    (tmp_path / "known.yaml").write_text(yaml.safe_dump(values(entries=[OTHER])))
    assert similar_paper([same], known_in([tmp_path])) is None


def test_identifiers_are_the_same_whatever_their_case_and_version(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values(identifier="arXiv:2406.06484")))
    known = known_in([tmp_path])
    assert same_paper("", "arxiv:2406.06484v3", known) is not None
    assert same_paper("", "arXiv:2406.06485", known) is None
    assert same_paper("", "", known) is None


@pytest.mark.parametrize(
    "year",
    ["2024-13-45", "9" * 5_000, "[" * 2_000 + "]" * 2_000, "&a [1, *a]", "0x" + "f" * 9_000],
    ids=["date", "number", "depth", "alias", "hexadecimal"],
)
def test_a_file_that_cannot_be_read_has_its_name_alone_and_one_complaint(tmp_path: Path, year: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"year: {year}\n" + yaml.safe_dump({"title": "A title", "identifier": 7}))
    (known,) = known_in([tmp_path])
    assert known.path == path
    assert known.identifier == ""
    (complaint,) = complaints_about(tmp_path, [known])
    assert complaint.startswith(str(path))
    assert len(complaint) < 400


def test_drafts_are_not_compared_by_what_they_do_not_say() -> None:
    assert text_of(entry(insight="TODO")) == ""
    assert text_of({"trigger": 7}) == ""
    assert text_of(entry()).startswith("Recall of early pairs")


def test_a_check_names_every_file_that_has_to_be_mended(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path_factory.mktemp("shipped")
    for module in ("library", "commands.check"):
        monkeypatch.setattr(f"cognition.{module}.shipped_folder", lambda: shipped)

    def write(name: str, **changes: object) -> None:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values(**changes)))

    write("one", title="A paper of ours", entries=[entry()])
    assert complaints_about(tmp_path, known_in([tmp_path])) == []
    write("two", title="Another of ours", entries=[entry(name="again")])
    write("three", title="A third of ours", entries=[OTHER | {"cost": "TODO"}])
    write("four", title="A PAPER of ours!", entries=[OTHER | {"slots": []}])
    complaints = "\n".join(complaints_about(tmp_path, known_in([tmp_path])))
    assert "three.yaml: entries[0]: cost still says TODO" in complaints
    assert "four.yaml: entries[0]: slots is empty" in complaints
    assert re.search(r"two\.yaml: .*one\.yaml has an entry that says nearly the same", complaints)
    assert re.search(r"one\.yaml: .*four\.yaml has the same title", complaints)
    for path in ("two", "three", "four"):
        (tmp_path / f"{path}.yaml").unlink()
    write("one", title="A paper of ours", entries=[entry()], extends=["nobody"])
    (complaint,) = complaints_about(tmp_path, known_in([tmp_path]))
    assert "extends names 'nobody'" in complaint
