from __future__ import annotations

import numpy as np
import pytest

from cognition.documents import Document
from cognition.embedding import HashedNgrams, LatentNgrams
from cognition.records import Vector
from cognition.retrieval import Index, RetrievalSettings
from cognition.vectors import VectorTable


def document(
    name: str, text: str, *, group: str = "", slots: tuple[str, ...] = (), confidence: float = 1.0
) -> Document:
    return Document(
        item="entry", item_id=name, group=group or name, slots=slots, parts={"text": text}, confidence=confidence
    )


TEXTS = {
    "forgets": "the state forgets early tokens and recall of distant keys fails",
    "slow": "a training step is slow because the recurrence runs token by token",
    "collapse": "gates collapse to one path and the others receive no gradient",
    "parity": "parity cannot be tracked since no transition flips a sign",
}


def index(**settings: object) -> Index:
    made = Index(HashedNgrams(), RetrievalSettings(**settings))  # type: ignore[arg-type]
    made.add([document(name, text) for name, text in TEXTS.items()])
    return made


@pytest.mark.parametrize("settings", [{}, {"vectors": False}, {"words": False}, {"diversity": 0.0}])
@pytest.mark.parametrize(
    ("query", "wanted"),
    [("early tokens are forgotten", "forgets"), ("one gate path collapses", "collapse"), ("slow step", "slow")],
)
def test_each_way_finds_the_document_that_says_it(settings: dict[str, object], query: str, wanted: str) -> None:
    assert index(**settings).search(query, 1)[0].document.item_id == wanted


def test_concepts_find_what_shares_no_word() -> None:
    found = index(words=False).search("what it memorised at the beginning fades away", 1)
    assert found[0].document.item_id == "forgets"
    assert not index(vectors=False).search("memorised beginnings fade", 1)


def test_a_slot_leaves_out_what_is_for_others_and_keeps_what_is_for_all() -> None:
    made = Index(HashedNgrams())
    made.add(
        [
            document("mixer", "gates collapse", slots=("token_mixer",)),
            document("both", "gates collapse at once", slots=("token_mixer", "channel_mixer")),
            document("any", "gates collapse too"),
        ]
    )
    assert {hit.document.item_id for hit in made.search("gates collapse", 5, "channel_mixer")} == {"both", "any"}


def test_the_second_of_a_group_comes_after_the_first_of_every_other() -> None:
    made = Index(HashedNgrams())
    made.add(
        [
            document("a/1", "gates collapse to one path", group="a"),
            document("a/2", "gates collapse to one path early", group="a"),
            document("b/1", "a gate that saturates", group="b"),
        ]
    )
    found = [hit.document.group for hit in made.search("gates collapse to one path", 3)]
    assert sorted(found[:2]) == ["a", "b"]
    assert len(found) == 3


def test_relevance_counts_by_confidence() -> None:
    made = Index(HashedNgrams(), RetrievalSettings(diversity=0))
    made.add(
        [
            document("doubtful", "a gate on the state lowers the loss", confidence=0.2),
            document("sure", "a gate on the state lowers the loss a bit", confidence=0.9),
        ]
    )
    assert made.search("gate on the state", 1)[0].document.item_id == "sure"
    made.reweigh("sure", 0.01)
    assert made.search("gate on the state", 1)[0].document.item_id == "doubtful"


def test_what_was_dropped_or_replaced_is_not_found_any_more() -> None:
    made = index()
    made.drop("forgets")
    made.drop("never there")
    assert "forgets" not in {hit.document.item_id for hit in made.search("state forgets early tokens", 4)}
    made.add([document("slow", "dead heads in the upper layers")])
    assert made.search("dead heads", 1)[0].document.item_id == "slow"
    assert not [h for h in made.search("recurrence token by token", 4) if "recurrence" in h.document.text]
    assert len(made) == 3


def test_what_is_added_one_by_one_is_found_as_what_is_added_at_once() -> None:
    one_by_one = Index(HashedNgrams())
    for name, text in TEXTS.items():
        one_by_one.add([document(name, text)])
        one_by_one.search("anything", 1)
    for query in TEXTS.values():
        assert [h.document.item_id for h in one_by_one.search(query, 4)] == [
            h.document.item_id for h in index().search(query, 4)
        ]


def test_nothing_in_common_finds_nothing_and_an_empty_index_is_no_error() -> None:
    assert Index(HashedNgrams()).search("gates", 3) == ()
    assert index(vectors=False).search("zebra", 3) == ()
    assert index().search("", 3) == ()
    with pytest.raises(ValueError, match="num is 0: ask for one document or more"):
        index().search("gates", 0)


def test_settings_check_themselves() -> None:
    with pytest.raises(ValueError, match="switch one of them on"):
        RetrievalSettings(words=False, vectors=False)
    with pytest.raises(ValueError, match=r"diversity is 1\.5"):
        RetrievalSettings(diversity=1.5)


def test_vectors_are_made_once_and_come_back_from_the_store() -> None:
    class Counting(HashedNgrams):
        num_embedded = 0

        def embed(self, texts):  # type: ignore[no-untyped-def]
            self.num_embedded += len(texts)
            return super().embed(texts)

    documents = [document(name, text) for name, text in TEXTS.items()]
    first = Counting()
    made = VectorTable(first).add(documents)
    assert first.num_embedded == len(made) == len(TEXTS)
    again = Counting()
    table = VectorTable(again)
    assert table.add(documents, made) == ()
    assert again.num_embedded == 0
    assert table.nearest(TEXTS["parity"], 1)[0].place == list(TEXTS).index("parity")
    other = [Vector(embedder="another", item="entry", item_id=v.item_id, vector=v.vector) for v in made]
    assert len(VectorTable(HashedNgrams()).add(documents, other)) == len(TEXTS)


def test_vectors_of_another_length_are_refused() -> None:
    class Changing(HashedNgrams):
        num = 8

        def embed(self, texts):  # type: ignore[no-untyped-def]
            return np.ones((len(texts), self.num), dtype=np.float32)

    embedder = Changing()
    table = VectorTable(embedder)
    table.add([document("a", "x")])
    embedder.num = 9
    with pytest.raises(ValueError, match="gives 9 dimensions and gave 8 before"):
        table.add([document("b", "y")])


def test_all_wordings_of_a_document_count() -> None:
    made = Index(HashedNgrams(), RetrievalSettings(words=False))
    parts = {"trigger": "loss spikes", "wording 1": "gradients explode late in training", "insight": "clip the gates"}
    made.add([Document(item="entry", item_id="a", group="a", slots=(), parts=parts), document("b", "loss of keys")])
    for text in parts.values():
        assert made.search(text, 1)[0].document.item_id == "a"


def test_a_latent_embedder_learns_which_words_mean_the_same() -> None:
    documents = [
        ["the ledger withers", "what stood there first crumbles", "old content crumbles, withers"],
        ["gates collapse to one path", "a router starves its experts", "routers collapse, gates starve"],
        ["a step is slow", "throughput is poor", "poor throughput since a step is slow"],
    ]
    embedder = LatentNgrams(documents)
    withers, crumbles, starves, nothing = embedder.embed(["withers", "crumbles", "starves", ""])
    assert withers @ crumbles > 0.9 > 0.3 > abs(float(withers @ starves))
    assert not nothing.any()
    assert embedder.embed([]).shape == (0, 3)
    plain = HashedNgrams().embed(["withers", "crumbles"])
    assert plain[0] @ plain[1] < 0.2
    assert embedder.name != LatentNgrams(documents[:2]).name
    assert embedder.name == LatentNgrams(documents).name
    with pytest.raises(ValueError, match="was given none"):
        LatentNgrams([])
