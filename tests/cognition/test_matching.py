from __future__ import annotations

import pytest

from cognition.documents import documents_of, embedder_for
from cognition.library import load_library
from cognition.matching import Match, match
from cognition.retrieval import Index

# Changes as models write them, with a paper that the idea is from.
TAKEN = {
    "memory: additive outer products -> delta rule with write strength beta": "delta_net",
    "decay: none -> data-dependent gate per key channel": "gla",
    "state transition: beta in (0,1) -> beta in (0,2) so that eigenvalues can be negative": "negative_eigenvalues",
    "short convolution of four taps on q, k and v": "primer",
    "feature map: identity -> learned MLP that mimics softmax, spiky weights": "hedgehog",
    "output gate: none -> head-wise sigmoid after attention": "gated_attention",
    "one scalar decay per head -> per layer schedule from slow to fast": "tnl_transnormerllm",
    "keys shared by all heads (multi-query)": "mqa",
    "rotary position encoding on q and k": "rope",
    "chunk memory replaced by log-many states over a Fenwick tree": "log_linear_attention",
    "relu squared in the feed-forward layer": "primer",
    "momentum on the memory update (surprise)": "titans",
    "token shift: mix with the previous token before the projections": "rwkv4",
}
OWN = (
    *("colour of the fence: green -> blue", "name: mixer_a -> mixer_b", "rename q_proj to query", "add a docstring"),
    *("seed: 0 -> 1", "bias: False -> True in the output projection", "vocab size", "width 176 -> 184"),
    *("scripted design", "a third thing", "memory: another -> this", "use einsum in place of matmul"),
)


@pytest.fixture(scope="module")
def found() -> dict[str, Match]:
    library = load_library()
    documents = documents_of(library.entries.values(), library.papers)
    index = Index(embedder_for(documents))
    index.add(documents)
    return {
        element: match(element, hit.document, library.entries[hit.document.item_id].implementation)
        for element in (*TAKEN, *OWN)
        for hit in index.search(element, 1)
    }


def test_most_ideas_are_found_again_and_renamed_variables_are_nobodys(
    found: dict[str, Match], capsys: pytest.CaptureFixture[str]
) -> None:
    taken = [element for element in TAKEN if found[element].near]
    right = [element for element in taken if found[element].document.group == TAKEN[element]]
    wrong = [element for element in OWN if element in found and found[element].near]
    with capsys.disabled():
        print(f"\nelements found again: {len(taken)} of {len(TAKEN)}, in the very paper {len(right)}; ", end="")
        print(f"of {len(OWN)} that are nobody's, {len(wrong)} found a source")
    assert len(taken) >= 0.8 * len(TAKEN)
    assert len(wrong) <= 0.1 * len(OWN)
