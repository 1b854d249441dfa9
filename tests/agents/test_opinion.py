from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agents.analyst import Analyst, Context
from agents.brief import Noise
from agents.explaining import ExplainingAnalyst
from agents.fitness import FitnessSettings
from agents.judge import Judge
from agents.ledger import Limits
from agents.llm.client import Client
from agents.llm.settings import LlmSettings, ModelSettings, Price, RoleSettings
from agents.llm.transcript import TranscriptLine
from agents.opinion import Anchor, OpinionJudge, quality_of
from agents.purse import Purse
from cognition.records import CallOutcome, Insight, LlmCall
from tests.agents.readers import INSIGHT, OLD, PARENT

FREE = {"m": Price(input=0, output=0)}
OPINIONS = (
    '{"innovation": 4, "complexity": 6}',
    '{"innovation": 6, "complexity": 6}',
    '{"innovation": 9, "complexity": 9}',
)


def client(role: str, purpose: str, replies: tuple[str, ...], number: int = 3) -> Client:
    """Hears the replies, one for each sample."""
    settings = LlmSettings(
        name="t",
        models={"m": ModelSettings(model="m")},
        roles={role: RoleSettings(models={"m": 1.0})},
        max_corrections=0,
    )
    recorded = [
        LlmCall(
            call_id=str(sample),
            role=role,
            purpose=purpose,
            number=number,
            sample=sample,
            model="m",
            prompt="p",
            prompt_version="1.1",
            prompt_hash="h",
            reply=reply,
            outcome=CallOutcome.answered,
        )
        for sample, reply in enumerate(replies)
    ]
    return Client(settings, FREE, Purse(Limits(), settings, FREE, write_ahead=False), TranscriptLine(recorded))


def judge(replies: tuple[str, ...], share: float = 0.5) -> Judge:
    anchors = [Anchor(source=OLD.candidate.source, score=5)]
    return Judge(FitnessSettings(opinion_share=share), OpinionJudge(client("judge", "assess", replies), anchors))


async def verdict(of: Judge):  # type: ignore[no-untyped-def]
    assert PARENT.report is not None
    return await of.assess(PARENT.candidate, PARENT.report, PARENT.trials, OLD)


async def test_the_median_of_the_samples_enters_the_quality_and_the_spread_is_kept() -> None:
    found = await verdict(judge(OPINIONS))
    # 25:45, as in ASI-Arch's rubric: (0.25 * 4 + 0.45 * 6) / 0.7, 6, and 9
    assert found.opinion == pytest.approx(6.0)
    assert found.opinion_spread == pytest.approx(9 - 3.7 / 0.7)
    assert (found.num_opinions, found.quality_source) == (3, "both")
    alone = await verdict(Judge(FitnessSettings()))
    assert found.quality_term == pytest.approx(0.5 * alone.quality_term + 0.5 * quality_of(6.0))
    assert (found.loss_term, found.benchmark_term) == (alone.loss_term, alone.benchmark_term)


async def test_its_weight_may_be_zero_and_then_nobody_is_asked() -> None:
    found = await verdict(judge((), share=0.0))
    assert found == await verdict(Judge(FitnessSettings(opinion_share=0.0)))
    assert found.num_opinions == 0
    whole = await verdict(judge(OPINIONS, share=1.0))
    assert (whole.quality_source, whole.quality_term) == ("llm", pytest.approx(quality_of(6.0)))


async def test_samples_that_cannot_be_read_are_left_out_and_none_leaves_the_measured_quality() -> None:
    found = await verdict(judge(('{"innovation": 4, "complexity": 6}', "seven, I'd say", '{"innovation": 40}')))
    assert (found.num_opinions, found.opinion_spread) == (1, None)
    none = await verdict(judge(("no",) * 3))
    assert (none.opinion, none.quality_source) == (None, "measured")
    assert none.quality_term == (await verdict(Judge(FitnessSettings()))).quality_term


async def test_a_failed_candidate_costs_no_opinion() -> None:
    failed = replace(PARENT.trials[0], loss=None, status=PARENT.trials[0].status.__class__.failed)
    assert PARENT.report is not None
    found = await judge(()).assess(PARENT.candidate, PARENT.report, (failed,), OLD)
    assert (found.fitness, found.num_opinions) == (None, 0)


def analyst(reply: str) -> Analyst:
    return Analyst(ExplainingAnalyst(client("analyst", "explain", (reply,))))


async def explained(reply: str) -> list[Insight]:
    assert PARENT.verdict is not None
    candidate = replace(PARENT.candidate, parent_ids=(OLD.candidate.candidate_id,), changes=("gate: none -> sigmoid",))
    context = Context(stage="explore", noise=Noise(sigma=0.02, dof=3), parents=(OLD,), baseline=OLD)
    found = await analyst(reply).explain(candidate, PARENT.trials, PARENT.verdict, context)
    return list(found)


def claim(evidence: str = PARENT.trials[0].trial_id, against: str = "parent", change: str = "null") -> str:
    return (
        f'{{"claims": [{{"statement": "The gate lowers the loss by 99 nats.", "against": "{against}", '
        f'"change": {change}, "evidence": ["{evidence}"]}}]}}'
    )


async def test_a_claim_carries_the_measured_effect_whatever_it_says() -> None:
    found = await explained(claim(change='"gate: none -> sigmoid"'))
    measured = [insight for insight in found if insight.source == "measured"]
    (worded,) = [insight for insight in found if insight.source == "llm"]
    basis = next(insight for insight in measured if insight.against == "parent")
    assert (worded.effect, worded.low, worded.high) == (basis.effect, basis.low, basis.high)
    assert worded.change == "gate: none -> sigmoid"
    assert worded.claim.startswith("The gate lowers")
    assert worded.evidence == (PARENT.trials[0].trial_id,)
    assert worded.insight_id not in {insight.insight_id for insight in measured}


@pytest.mark.parametrize("reply", [claim(evidence="made-up-explore-s0"), "it is better", '{"claims": []}'])
async def test_claims_without_evidence_that_was_shown_are_dropped(reply: str) -> None:
    assert all(insight.source == "measured" for insight in await explained(reply))


async def test_a_change_that_nobody_made_is_not_credited() -> None:
    (worded,) = [i for i in await explained(claim(change='"colour: red -> blue"')) if i.source == "llm"]
    assert worded.change is None


async def test_a_synthesis_cites_what_there_is() -> None:
    reply = f'{{"text": "Gates help, filters do not.", "works": ["gates"], "cites": ["{INSIGHT.insight_id}", "ffff"]}}'
    words = ExplainingAnalyst(client("analyst", "synthesise", (reply,), number=1))
    found = await words.synthesise(1, 4, (INSIGHT,))
    assert found is not None
    assert (found.round, found.number, found.works, found.cites) == (1, 4, ("gates",), (INSIGHT.insight_id,))
    nobody = ExplainingAnalyst(client("analyst", "synthesise", ("I think so",), number=1))
    assert await nobody.synthesise(1, 4, (INSIGHT,)) is None


def test_an_anchor_outside_the_scale_is_refused() -> None:
    make: Callable[[], Anchor] = lambda: Anchor(source="", score=11)  # noqa: E731
    with pytest.raises(ValueError, match="scored 11"):
        make()
