"""What a search finds, against a search of everything, one document at a time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import bm25s
import numpy as np
import pytest

from cognition.documents import Document
from cognition.embedding import HashedNgrams, Vectors
from cognition.retrieval import Index, RetrievalSettings, _best
from cognition.vectors import VectorTable
from cognition.words import terms_of

WORDS = terms_of(
    "gate decay state recall forgets token chunk delta rule norm sparse filter window key value query scale loss "
    "convolution memory interference write erase rotary long context noise router path copy parity"
)
DEPTH, OFFSET = 50, 10


def documents(num: int, rng: random.Random, *, first: int = 0) -> list[Document]:
    return [
        Document(
            item="insight",
            item_id=f"d{number}",
            group=f"g{number}",
            slots=rng.choice(((), ("token_mixer",), ("channel_mixer",), ("token_mixer", "channel_mixer"))),
            parts={
                f"part {part}": " ".join(rng.choices(WORDS, k=rng.randint(2, 12))) for part in range(rng.randint(1, 3))
            },
            confidence=rng.random(),
        )
        for number in range(first, first + num)
    ]


def cosine(document: Document, vector: Vectors, embedder: HashedNgrams) -> float:
    mean = embedder.embed(list(document.parts.values())).sum(axis=0)
    return float(mean @ vector / np.linalg.norm(mean))


def brute_force(held: Sequence[Document], query: str, num: int, slot: str | None) -> list[tuple[str, float]]:
    """Ids and scores of the best, without diversification; of a ranking's equals the earlier document is first."""
    words = bm25s.BM25()
    words.index([terms_of(document.text) for document in held], show_progress=False)
    scores = words.get_scores([term for term in terms_of(query) if term in words.vocab_dict])
    embedder = HashedNgrams()
    vector = embedder.embed([query])[0]
    cosines = [cosine(one, vector, embedder) for one in held]
    found: dict[int, float] = {}
    for figures in (scores, cosines):
        fits = [p for p, one in enumerate(held) if slot is None or not one.slots or slot in one.slots]
        ranked = sorted((p for p in fits if figures[p] > 0), key=lambda place: -figures[place])
        for rank, place in enumerate(ranked[:DEPTH], start=1):
            found[place] = found.get(place, 0.0) + held[place].confidence / (OFFSET + rank)
    best = sorted(found, key=lambda place: (-found[place], held[place].item_id))[:num]
    return [(held[place].item_id, found[place]) for place in best]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slot", [None, "token_mixer"])
def test_a_search_finds_what_a_search_of_everything_finds(seed: int, slot: str | None) -> None:
    rng = random.Random(seed)
    index = Index(HashedNgrams(), RetrievalSettings(diversity=0))
    held = {document.item_id: document for document in documents(300, rng)}
    index.add(list(held.values()))
    for dropped in rng.sample(sorted(held), 40):
        index.drop(dropped)
        del held[dropped]
    for late in documents(60, rng, first=300):  # one by one; known at once
        index.add([late])
        held[late.item_id] = late
    again = dataclasses.replace(documents(1, rng)[0], item_id="d310")
    index.add([again])
    del held["d310"]
    held["d310"] = again
    for _ in range(5):
        query = " ".join(rng.sample(WORDS, 6))
        hits = index.search(query, 10, slot)
        expected = brute_force(list(held.values()), query, 10, slot)
        assert [hit.document.item_id for hit in hits] == [item_id for item_id, _ in expected]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected])


def test_an_index_that_dropped_documents_finds_what_one_without_them_finds() -> None:
    rng = random.Random(5)
    kept, gone = documents(200, rng), documents(200, rng, first=200)
    clean, worn = Index(HashedNgrams()), Index(HashedNgrams())
    clean.add(kept)
    for one, other in zip(kept, gone, strict=True):
        worn.add([other])
        worn.add([one])
    for other in gone:
        worn.drop(other.item_id)
    assert len(worn) == len(clean) == 200
    for _ in range(10):
        query = " ".join(rng.choices(WORDS, k=5))
        assert worn.search(query, 8) == clean.search(query, 8)
        assert worn.search(query, 8, "channel_mixer") == clean.search(query, 8, "channel_mixer")


def test_the_nearest_are_those_of_a_loop() -> None:
    rng = random.Random(7)
    held = documents(150, rng)
    embedder = HashedNgrams()
    table = VectorTable(embedder)
    for first in range(0, 150, 7):  # grows a few times
        table.add(held[first : first + 7])
    query = embedder.embed(["decay of the state forgets long context"])[0]
    cosines = [cosine(one, query, embedder) for one in held]
    allowed = np.array([rng.random() < 0.5 for _ in held])
    for mask in (None, allowed):
        near = table.nearest_to(query, 20, mask)
        places = [place for place in range(150) if cosines[place] > 0 and (mask is None or mask[place])]
        expected = sorted(places, key=lambda place: -cosines[place])[:20]
        assert [one.similarity for one in near] == pytest.approx([cosines[place] for place in expected], abs=1e-5)
        assert {one.place for one in near} <= set(places)
    means = table.vectors_of([3, 149, 3])
    parts = embedder.embed(list(held[149].parts.values())).sum(axis=0)
    np.testing.assert_allclose(means[1], parts / np.linalg.norm(parts), rtol=1e-5, atol=1e-6)
    assert (means[0] == means[2]).all()


def test_of_equal_scores_the_first_place_is_the_better() -> None:
    scores = np.array([0.5, 0.0, 1.0, 0.5, 0.5, -1.0, 1.0], dtype=np.float32)
    assert _best(scores, 3).tolist() == [2, 6, 0]
    assert _best(scores, 4).tolist() == [2, 6, 0, 3]
    assert _best(scores, 9).tolist() == [2, 6, 0, 3, 4]


def test_a_document_without_text_or_with_other_dimensions_is_refused_and_changes_nothing() -> None:
    index = Index(HashedNgrams())
    index.add(documents(5, random.Random(8)))
    bad = Document(item="insight", item_id="bad", group="g", slots=(), parts={})
    with pytest.raises(ValueError, match="bad has no part"):
        index.add([bad])
    assert len(index) == 5
    assert index.search("gate decay state recall", 5)
