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
from cognition.records import Candidate, Claim, Event, Record, ReportKind
from orchestrator.config import Settings, compose, settings_from
from orchestrator.population import EXPLAINED, Population
from orchestrator.result import Result
from orchestrator.run_folder import RunFolder
from orchestrator.shown_result import show_result
from orchestrator.terminal import Terminal
from tests.cognition.factories import make_candidate, make_claim, make_report, make_trial, make_verdict

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


@pytest.mark.parametrize(
    ("low", "high", "doubt"), [(-0.15, -0.05, False), (-0.3, 0.1, True), (0.05, 0.2, False), (-0.2, 0.0, True)]
)
def test_an_interval_that_holds_zero_is_said_to_settle_nothing(low: float, high: float, doubt: bool) -> None:
    candidate = named("x")
    claim = dataclasses.replace(make_claim(candidate, BASELINE), difference=(low + high) / 2, low=low, high=high)
    text = shown(ended([member(BASELINE), member(candidate)], [claim]))
    interval = f"{(low + high) / 2:+.4f} [{low:+.4f}, {high:+.4f}]"
    assert f"difference to the best baseline mixer-0: {interval} nats per token" in text
    assert text.count(interval) == 2
    assert "held-out loss 2.2000 ± 0.0200 over 3 seeds" in text
    assert ("the interval holds zero, more seeds are needed to tell" in text) is doubt


def one_seed() -> str:
    candidate = named("x")
    claim = dataclasses.replace(
        make_claim(candidate, BASELINE), num_seeds=1, std_loss=None, baseline_std_loss=None, low=None, high=None
    )
    return shown(ended([member(BASELINE), member(candidate)], [claim]))


def test_one_seed_is_a_difference_without_an_interval() -> None:
    assert one_seed().count("-0.1000 (one seed: no interval)") == 2
    assert "held-out loss 2.2000 over 1 seeds" in one_seed()
    assert "more seeds are needed to tell" in one_seed()


def test_one_seed_is_not_said_to_have_an_interval_with_zero_in_it() -> None:
    assert "the interval holds zero" not in one_seed()


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
