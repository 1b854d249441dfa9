from __future__ import annotations

from dataclasses import replace

import pytest

from agents.brief import Evidence, Member
from agents.weakness import query_of, weakness_of_evidence, weaknesses_of
from cognition.documents import documents_of, embedder_for
from cognition.library import load_library
from cognition.records import FailureKind, Score, Trial, TrialStatus
from cognition.retrieval import Index
from tests.agents.readers import OLD


def member(loss: float = 2.0, flops: float = 1e6, state: int | None = 4096, **accuracies: float) -> Member:
    scores = tuple(
        Score(name=f"{name}_accuracy", value=value, chance=0.25, num_items=256) for name, value in accuracies.items()
    )
    trials = tuple(replace(trial, loss=loss, scores=scores) for trial in OLD.trials)
    assert OLD.verdict is not None
    assert OLD.report is not None
    return replace(
        OLD,
        trials=trials,
        verdict=replace(OLD.verdict, loss=loss),
        report=replace(OLD.report, flops_per_token=flops, state_bytes=state),
    )


REFERENCE = member(mqar=0.93)


def test_a_probe_near_chance_is_the_first_weakness_and_says_what_it_means() -> None:
    first, *rest = weaknesses_of(member(mqar=0.28, loss=2.01), REFERENCE)
    assert "associative recall is poor" in first.text
    assert "mqar_accuracy 0.28, baseline 0.93, chance 0.25" in first.text
    assert first.severity > 0.9
    assert all(weakness.severity < first.severity for weakness in rest)


def test_loss_and_cost_are_told_beside_the_baselines() -> None:
    texts = [w.text for w in weaknesses_of(member(loss=2.2, flops=2e6, state=3 * 4096, mqar=0.95), REFERENCE)]
    assert any("validation loss on text is worse" in text and "2.200 against 2.000" in text for text in texts)
    assert any("costs 2.00 times" in text for text in texts)
    assert any("decode state is 3.00 times" in text for text in texts)


def test_a_design_that_is_level_has_no_weakness_and_the_question_is_still_one() -> None:
    level = member(mqar=0.97)
    assert weaknesses_of(level, REFERENCE) == ()
    assert "no probe is weak" in query_of([level], REFERENCE)
    assert "no probe is weak" in query_of([], None)


def test_a_probe_at_which_the_reference_fails_too_is_still_a_weakness() -> None:
    assert weaknesses_of(member(parity=0.5), member(parity=0.5))[0].text.startswith("state tracking is poor on parity")


@pytest.mark.parametrize(
    ("failure", "words"),
    [(FailureKind.nonfinite, "NaN"), (FailureKind.diverged, "diverges"), (FailureKind.error, None)],
)
def test_what_broke_in_training_says_something_only_where_the_design_did_it(
    failure: FailureKind, words: str | None
) -> None:
    assert OLD.report is not None
    trial: Trial = replace(OLD.trials[0], status=TrialStatus.failed, failure=failure, loss=None)
    weakness = weakness_of_evidence(Evidence(report=OLD.report, trials=(trial,)))
    assert (weakness is None) == (words is None)
    assert words is None or (weakness is not None and words in weakness.text)


@pytest.mark.parametrize(
    ("probe", "papers"),
    [
        ("mqar", {"delta_net", "zoology", "based", "fast_weight_programmers", "gated_delta_net", "h3", "mesanet"}),
        ("parity", {"negative_eigenvalues", "delta_product", "illusion_of_state", "rwkv7", "structured_linear_cdes"}),
        ("selective_copying", {"mamba", "repeat_after_me", "mad", "gla", "gateloop", "h3", "liquid_s4"}),
    ],
)
def test_a_measured_weakness_finds_papers_of_the_library_that_treat_it(probe: str, papers: set[str]) -> None:
    library = load_library()
    documents = documents_of(library.entries.values(), library.papers)
    index = Index(embedder_for(documents))
    index.add(documents)
    query = query_of([member(**{probe: 0.27})], REFERENCE)
    found = [hit.document.group for hit in index.search(query, 4, "token_mixer")]
    assert papers & set(found), (query, found)
