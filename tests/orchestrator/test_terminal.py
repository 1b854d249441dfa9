"""What a person sees. Names come from whoever proposes: they are shown, never interpreted."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from agents.brief import Member
from agents.ledger import Cost, Spend
from cognition.records import Candidate, Claim, ClaimState, Event, Record, ReportKind
from orchestrator.config import Settings, compose, settings_from
from orchestrator.population import CLIMBED, EXPLAINED, Population
from orchestrator.result import Result
from orchestrator.run_folder import RunFolder
from orchestrator.shown_result import show_result
from orchestrator.terminal import Terminal
from tests.cognition.factories import make_candidate, make_claim, make_noise, make_report, make_trial, make_verdict

FIRST = ["1", "design-01", "grammar", "0.890", "2.0100", "0.50", "1,001", "0.25"]
ESCAPES = "\x1b[2J\x1b]0;owned\x07name"
BASELINE = make_candidate(0, arm="baseline")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_from(compose(["+campaign=linear_attn", "scale=tiny"]))


def screen(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(
        file=written, width=200, highlight=False, soft_wrap=True, force_terminal=terminal, color_system=None
    ), written


def named(name: str, number: int = 1) -> Candidate:
    return dataclasses.replace(make_candidate(number), name=name)


def member(candidate: Candidate, fitness: float = 0.5, loss: float = 2.5) -> Member:
    report = make_report(candidate)
    counted = dataclasses.replace(make_trial(candidate, loss=loss), num_parameters=report.num_parameters)
    return Member(
        candidate=candidate,
        report=dataclasses.replace(report, num_parameters=1),  # a candidate's word, which nobody is shown
        trials=(counted,),
        verdict=make_verdict(candidate, fitness, loss=loss),
    )


def ended(members: Sequence[Member], claims: Sequence[Claim] = (), **fields: Any) -> Result:
    spend = (Spend(account="explore/grammar", settled=Cost(slot_hours=0.05), num_settled=3),)
    return Result(
        folder=Path("runs/x[red]"),
        members=tuple(members),
        claims=tuple(claims),
        stages=("explore", "verify"),
        spend=spend,
        elapsed_s=75.0,
        **fields,
    )


def shown(result: Result) -> str:
    console, written = screen()
    show_result(console, result, num_candidates=24)
    return written.getvalue()


def campaign(settings: Settings, *rows: Record) -> Any:
    """As much of a campaign as a view reads."""
    return SimpleNamespace(
        settings=settings,
        population=Population(rows),
        cluster=SimpleNamespace(num_slots=4, num_gpus=0, description="local Ray"),
        flow=SimpleNamespace(num_open=3),
        folder=RunFolder(Path("runs/x")),
        set_aside=(),
        layers=(),
        started_at=0.0,
        elapsed_s=0.0,
    )


@pytest.mark.parametrize(
    "name",
    ["plain", "[1, 2]", "[red]x[/red]", "[/red]"],
)
def test_names_in_the_result_are_shown_literally(name: str) -> None:
    candidate = named(name)
    text = shown(ended([member(BASELINE), member(candidate, 0.7)], [make_claim(candidate, BASELINE)]))
    assert text.count(name) == 3, "leaderboard, verified, answer"


@pytest.mark.parametrize("name", ["plain", ESCAPES])
def test_escape_characters_in_names_never_reach_the_terminal(name: str) -> None:
    candidate = named(name)
    text = shown(ended([member(BASELINE), member(candidate, 0.7)], [make_claim(candidate, BASELINE)]))
    assert "Best at verify: candidate 1" in text
    assert not set(text) & {"\x1b", "\x07"}


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/red]"])
def test_names_in_progress_lines_are_shown_literally(settings: Settings, name: str) -> None:
    candidate = named(name)
    console, written = screen()
    refused = dataclasses.replace(make_report(named("y", 2), ReportKind.refused), detail=f"raised {name}\n  at line 3")
    running = campaign(settings, candidate)
    for record in (make_verdict(candidate, 0.7), refused, make_trial(candidate, loss=None)):
        Terminal(console).recorded(running, record)
    scored, refusal, failed = written.getvalue().splitlines()
    assert scored.startswith("0:00  scored       1  " + name)
    assert scored.endswith("loss 2.5000 fitness 0.700")
    assert refusal == f"0:00  refused      2.0  refused: raised {name} at line 3"
    assert name in failed
    assert "explore nonfinite" in failed


@pytest.mark.parametrize("detail", ["plain", ESCAPES])
def test_escape_characters_in_progress_lines_never_reach_the_terminal(settings: Settings, detail: str) -> None:
    console, written = screen()
    report = dataclasses.replace(make_report(named("y", 2), ReportKind.crashed), detail=detail)
    Terminal(console).recorded(campaign(settings), report)
    assert "refused" in written.getvalue()
    assert not set(written.getvalue()) & {"\x1b", "\x07"}


def claimed(candidate: Candidate, state: ClaimState, **fields: Any) -> Claim:
    return dataclasses.replace(make_claim(candidate, BASELINE), state=state, reason=f"because {state.value}", **fields)


@pytest.mark.parametrize("state", list(ClaimState))
def test_the_end_says_the_state_of_the_best_with_its_interval_and_never_more(state: ClaimState) -> None:
    candidate = named("x")
    text = shown(ended([member(BASELINE), member(candidate)], [claimed(candidate, state, num_tested=4, num_looks=12)]))
    assert f"Best at verify: candidate 1 (x), {state.value} (because {state.value})" in text
    assert "held-out loss 2.2000 ± 0.0200 over 3 seeds" in text
    assert "difference to the best baseline mixer-0: -0.1000 [-0.1500, -0.0500] nats per token" in text
    assert text.count("-0.1000 [-0.1500, -0.0500]") == 2, "table and answer"
    assert "all 4 tested counted. Held-out data was looked at 12 times" in text
    nums = {one: int(one == state.value) for one in ("discovery", "promising", "undecided", "rejected")}
    assert ", ".join(f"{num} {one}" for one, num in nums.items()) in text


@pytest.mark.parametrize(
    ("state", "fields", "told"),
    [
        (ClaimState.undecided, {"seeds_needed": 2, "slot_hours_needed": 0.5}, "about 2 more seeds, 0.5 slot-hours"),
        (
            ClaimState.promising,
            {"seeds_needed": 3, "slot_hours_needed": 1.0, "gpu_hours_needed": 4.0},
            "about 3 more seeds, 4 GPU-hours, if the difference stays (raise stages.verify.more_seeds by as many)",
        ),
        (ClaimState.undecided, {}, "over 1,000 more seeds"),
        (ClaimState.undecided, {"num_seeds": 1}, "more seeds than can be reckoned"),
        (ClaimState.discovery, {}, None),
        (ClaimState.rejected, {}, None),
    ],
)
def test_what_is_not_settled_says_what_would_settle_it(
    state: ClaimState, fields: dict[str, Any], told: str | None
) -> None:
    candidate = named("x")
    text = shown(ended([member(BASELINE), member(candidate)], [claimed(candidate, state, **fields)]))
    assert ("needs" in text) is (told is not None)
    assert told is None or told in text


def test_too_few_seeds_are_a_difference_without_an_interval() -> None:
    candidate = named("x")
    bare = {"num_seeds": 1, "std_loss": None, "baseline_std_loss": None, "low": None, "high": None}
    text = shown(ended([member(BASELINE), member(candidate)], [claimed(candidate, ClaimState.undecided, **bare)]))
    assert text.count("-0.1000 (too few seeds for an interval)") == 2
    assert "held-out loss 2.2000 over 1 seeds" in text


def test_the_gap_to_what_exploration_had_promised_is_told() -> None:
    candidate = named("x")
    fields = {"promised": -0.3, "gap": 0.2}
    text = shown(ended([member(BASELINE), member(candidate)], [claimed(candidate, ClaimState.undecided, **fields)]))
    assert "Exploration had promised -0.3000; verified on fresh seeds it is 0.2000 worse than that" in text


def test_of_several_baselines_the_one_that_decides_is_named() -> None:
    candidate, other = named("x"), dataclasses.replace(make_candidate(5, arm="baseline"), name="other")
    easy = claimed(candidate, ClaimState.undecided, num_baselines=2, deciding=False, difference=-0.9)
    hard = dataclasses.replace(easy, baseline_id=other.candidate_id, deciding=True, difference=-0.1)
    text = shown(ended([member(BASELINE), member(other), member(candidate)], [easy, hard]))
    assert "difference to other, the hardest of 2 baselines: -0.1000" in text
    assert "-0.9000" not in text


def test_the_noise_and_what_it_leaves_to_be_told_is_shown() -> None:
    level = make_noise(smallest_difference=0.25)
    text = shown(ended([member(BASELINE)], noise=(level, dataclasses.replace(level, smallest_difference=None))))
    assert "verify loss: sigma 0.0300 of a paired difference (dof 4); 3 seeds tell differences" in text
    assert "from 0.2500 on" in text
    assert "3 seeds tell no difference" in text


def test_the_first_who_climbs_says_what_the_stage_will_tell(settings: Settings) -> None:
    candidate, other = named("x"), named("y", 2)
    console, written = screen()
    climbs = [
        Event(event_id=one.name, kind=CLIMBED, subject=one.candidate_id, detail="verify") for one in (candidate, other)
    ]
    level = make_noise(stage="explore", sigma=0.01)
    Terminal(console).recorded(campaign(settings, candidate, level, climbs[0]), climbs[0])
    Terminal(console).recorded(campaign(settings, candidate, other, level, *climbs), climbs[1])
    Terminal(console).recorded(campaign(settings, candidate, climbs[0]), climbs[0])
    first, second, unknown = written.getvalue().splitlines()
    assert "by the noise of explore its 2 seeds tell no difference" in first
    assert "seeds tell" not in second + unknown


def test_claims_and_further_seeds_are_lines_as_they_come(settings: Settings) -> None:
    candidate = named("x")
    console, written = screen()
    running = campaign(settings, BASELINE, candidate)
    claim = claimed(candidate, ClaimState.promising, seeds_needed=1, slot_hours_needed=0.1)
    for record in (claim, dataclasses.replace(claim, deciding=False), make_noise()):
        Terminal(console).recorded(running, record)
    seed = Event(event_id="s", kind="seeded", subject=candidate.candidate_id, detail="verify 103")
    Terminal(console).recorded(running, seed)
    told, noise, seeded = written.getvalue().splitlines()
    assert (
        "claim     verify: promising  1 (x)  -0.1000 [-0.1500, -0.0500] over 3 seeds, because promising; needs" in told
    )
    assert "noise     verify loss" in noise
    assert "one more at verify 103" in seeded


def test_the_best_verified_is_the_lowest_difference() -> None:
    one, other = named("one", 1), named("other", 2)
    claims = [make_claim(one, BASELINE, difference=-0.1), make_claim(other, BASELINE, difference=-0.3)]
    text = shown(ended([member(BASELINE), member(one), member(other)], claims))
    assert "Best at verify: candidate 2 (other)" in text
    verified = text[text.index("Verify (fresh seeds") : text.index("Best at verify")]
    assert verified.index("other") < verified.index("one ")


def test_the_leaderboard_ranks_by_fitness_and_always_shows_the_baselines() -> None:
    members = [member(named(f"design-{n:02}", n), 0.9 - n / 100, 2.0 + n / 100) for n in range(1, 11)]
    text = shown(ended([member(BASELINE, 0.1, 2.9), *reversed(members)]))
    rows = [line.split() for line in text.splitlines() if "design-" in line or "mixer-0" in line]
    assert [row[1] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "8", "0"]
    assert [word for word in rows[0] if word != "│"] == FIRST


def test_the_result_says_what_was_spent_where_the_files_are_and_how_it_ended() -> None:
    text = shown(ended([member(BASELINE)]))
    assert "spent       3.0 slot-minutes, 1:15 on the clock, 0.00 USD" in text
    assert "files       runs/x[red]/lineage (Parquet)" in text
    assert "Best at" not in text
    assert "stopped" not in text
    assert "stopped     SIGTERM: the same command goes on from here" in shown(
        ended([member(BASELINE)], stopped_by="SIGTERM")
    )
    again = shown(ended([member(BASELINE)], resumed_finished=True))
    assert "runs/x[red] is finished (24 candidates)" in again


def test_elsewhere_than_on_a_terminal_progress_is_plain_lines_not_more_often_than_needed(settings: Settings) -> None:
    child = named("x")
    rows: list[Record] = []
    for candidate, loss in ((BASELINE, 2.5), (child, 2.25)):
        event = Event(event_id=candidate.candidate_id, kind=EXPLAINED, subject=candidate.candidate_id)
        rows += [candidate, make_report(candidate), make_trial(candidate, loss=loss), event]
        rows.append(make_verdict(candidate, 0.5, loss=loss))
    rows += [make_trial(child, seed=1, loss=None), make_report(named("y", 2), ReportKind.refused)]
    console, written = screen()
    terminal, running = Terminal(console), campaign(settings, *rows)
    terminal.started(running)
    choices = written.getvalue()
    assert "\x1b" not in choices
    assert "researchers grammar 75%, random 25%" in choices
    assert "models      none: every role is built in" in choices
    assert "mode        fastest order" in choices
    for _ in range(3):
        terminal.tick(running, [object(), object()])
    lines = written.getvalue()[len(choices) :].splitlines()
    assert len(lines) == 1
    assert "slots 2/4 in flight 3 finished 2 rejected 1 stopped 0 killed 1 failed 0" in lines[0]
    assert "best 2.2500 (candidate 1) against 2.5000 (mixer-0)" in lines[0]
    terminal.ended(running, ended([member(BASELINE)]))
    assert "\x1b" not in written.getvalue()


@pytest.mark.parametrize("name", ["plain", "[red]x[/red]"])
def test_on_a_terminal_live_progress_shows_names_literally_and_ends(settings: Settings, name: str) -> None:
    candidate = named(name)
    console, written = screen(terminal=True)
    terminal, running = Terminal(console), campaign(settings, candidate)
    terminal.started(running)
    trial = SimpleNamespace(trial_id=f"{candidate.candidate_id}-explore-s0", stage="explore", step=4, loss=3.25)
    terminal.tick(running, [trial])
    terminal.ended(running, ended([member(BASELINE)]))
    text = written.getvalue()
    assert "4/12" in text
    assert "3.250" in text
    assert "\x1b[?25h" in text, "the cursor is back"
    assert name in text
