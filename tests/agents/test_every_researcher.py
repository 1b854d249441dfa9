"""What every researcher has to keep, whoever it is: the grammar, chance, a model, a recording, a person."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agents.brief import Evidence
from agents.grammar.mutate import random_genome
from agents.grammar.spaces import SPACES
from agents.inbox import InboxProposer
from agents.ledger import Limits
from agents.llm.client import Client
from agents.llm.prices import prices_of
from agents.llm.settings import LlmSettings, ModelSettings, Price, RoleSettings
from agents.llm.transcript import TranscriptLine
from agents.llm.wire import LiteLlmLine
from agents.llm_proposer import LlmProposer
from agents.protocols import NoProposal, Proposer
from agents.purse import Purse
from agents.replies.fences import defines
from agents.researcher import default_proposers
from cognition.records import CallOutcome, Candidate, LlmCall, Report, ReportKind, candidate_id_of
from models.slots import contract_text
from tests.agents.readers import brief
from tests.model_server.brain import answer
from tests.model_server.server import ModelServer

RESEARCHERS = ("grammar", "random", "llm", "transcript", "inbox")
MakeProposer = Callable[[str], Proposer]


def settings_at(api_base: str | None) -> LlmSettings:
    free = Price(input=0, output=0)
    model = ModelSettings(model="openai/scripted-1", api_base=api_base, price=free, timeout_s=60)
    roles = {role: RoleSettings(models={"m": 1.0}) for role in ("researcher", "engineer")}
    return LlmSettings(name="test", models={"m": model}, roles=roles)


def client_at(api_base: str) -> tuple[Client, Purse]:
    settings = settings_at(api_base)
    purse = Purse(Limits(), settings, prices_of(settings), write_ahead=False)
    return Client(settings, prices_of(settings), purse, LiteLlmLine()), purse


async def drop_files(inbox: Path) -> None:
    """Somebody who answers briefs: a random design for each folder, named after what is asked for."""
    done: set[Path] = set()
    while True:
        for place in inbox.glob("*.*"):
            if place not in done and (place / "brief.md").is_file():
                done.add(place)
                slot = "channel_mixer" if "ChannelMixer" in (place / "brief.md").read_text() else "token_mixer"
                seed = int(re.sub(r"\D", "", place.name))
                import numpy as np

                space = SPACES[slot]
                source = space.render(random_genome(space, np.random.default_rng(seed)))
                (place / "mine.py").write_text(source)
        await asyncio.sleep(0.05)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeProposer]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ModelServer(answer))
        dropper = asyncio.create_task(drop_files(tmp_path))

        async def stop() -> None:
            dropper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await dropper

        stack.push_async_callback(stop)
        calls: list[LlmCall] = []

        def build(name: str) -> Proposer:
            if name == "llm":
                return LlmProposer(client_at(server.url)[0])
            if name == "inbox":
                return InboxProposer(tmp_path, timeout_s=60)
            if name == "transcript":
                return Replayed(server.url, calls)
            return default_proposers()[name]

        yield build


class Replayed:
    """Plays from a recording that it makes of each question when it is first asked."""

    def __init__(self, api_base: str, calls: list[LlmCall]) -> None:
        self._live, self._purse = client_at(api_base)
        self._calls = calls
        self._recorded = settings_at(None)

    async def propose(self, told):  # type: ignore[no-untyped-def]
        if not any(call.number == told.number for call in self._calls):
            await LlmProposer(self._live).propose(told)
            await self._keep()
        return await self._player().propose(told)

    async def repair(self, candidate, evidence, told):  # type: ignore[no-untyped-def]
        await LlmProposer(self._live).repair(candidate, evidence, told)
        await self._keep()
        return await self._player().repair(candidate, evidence, told)

    async def _keep(self) -> None:
        self._calls += [row for row in await self._purse.rows(wait=False) if isinstance(row, LlmCall)]

    def _player(self) -> LlmProposer:
        purse = Purse(Limits(), self._recorded, prices_of(self._recorded), write_ahead=False)
        return LlmProposer(Client(self._recorded, prices_of(self._recorded), purse, TranscriptLine(self._calls)))


def told(arm: str, number: int = 9, **fields: object):  # type: ignore[no-untyped-def]
    return brief(arm=arm, number=number, **fields)


def refused(candidate: Candidate) -> Evidence:
    report = Report(
        candidate_id=candidate.candidate_id,
        number=candidate.number,
        attempt=candidate.attempt,
        kind=ReportKind.refused,
        detail="cost: grows as T^2",
    )
    return Evidence(report=report)


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_a_proposal_is_of_its_number_arm_and_slot_and_has_its_class(make: MakeProposer, name: str) -> None:
    candidate = await make(name).propose(told(name))
    assert (candidate.number, candidate.attempt, candidate.arm, candidate.slot) == (9, 0, name, "token_mixer")
    assert candidate.candidate_id == candidate_id_of(candidate.source)
    assert defines(candidate.source, "TokenMixer")
    assert candidate.name
    assert candidate.motivation
    assert candidate.repairs is None


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_the_same_brief_gives_the_same_candidate_in_a_new_process(make: MakeProposer, name: str) -> None:
    first, second = [await make(name).propose(told(name)) for _ in range(2)]
    assert first == second


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_other_numbers_give_other_candidates(make: MakeProposer, name: str) -> None:
    proposer = make(name)
    found = [(await proposer.propose(told(name, number))).candidate_id for number in (9, 10, 11)]
    assert len(set(found)) == 3


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_a_repair_is_the_next_attempt_and_names_what_it_mends(make: MakeProposer, name: str) -> None:
    proposer = make(name)
    first = await proposer.propose(told(name))
    second = await proposer.repair(first, refused(first), told(name, attempt=1))
    assert (second.number, second.attempt, second.arm) == (9, 1, name)
    assert second.repairs == first.candidate_id
    assert second.candidate_id != first.candidate_id
    assert defines(second.source, "TokenMixer")


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_parents_are_among_those_that_were_shown(make: MakeProposer, name: str) -> None:
    brief_ = told(name)
    candidate = await make(name).propose(brief_)
    assert set(candidate.parent_ids) <= {parent.candidate.candidate_id for parent in brief_.parents}


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_nobody_needs_parents(make: MakeProposer, name: str) -> None:
    candidate = await make(name).propose(told(name, parents=(), history=(), ancestors=(), curves={}))
    assert candidate.parent_ids == ()


@pytest.mark.parametrize("name", RESEARCHERS)
async def test_another_slot_is_another_class(make: MakeProposer, name: str) -> None:
    asked = told(name, slot="channel_mixer", entry="ChannelMixer", contract=contract_text("channel_mixer"), parents=())
    candidate = await make(name).propose(asked)
    assert candidate.slot == "channel_mixer"
    assert defines(candidate.source, "ChannelMixer")


async def test_a_recording_stands_in_for_numbers_that_it_does_not_have(make: MakeProposer) -> None:
    proposer = make("transcript")
    recorded = {(await proposer.propose(told("transcript", number))).candidate_id for number in (9, 10)}
    player = proposer._player()  # type: ignore[attr-defined]
    assert {(await player.propose(told("transcript", number))).candidate_id for number in (20, 21)} == recorded
    with pytest.raises(NoProposal, match="transcript has no reply"):
        await player.repair(
            replace(await player.propose(told("transcript", 20)), number=20),
            refused(await player.propose(told("transcript", 20))),
            told("transcript", 20, attempt=1),
        )


async def test_an_engineer_that_gives_up_is_booked_and_says_why() -> None:
    reply = '```json\n{"give_up": "it needs the future"}\n```'
    with ModelServer(lambda asked: reply) as server:
        client, purse = client_at(server.url)
        candidate = await default_proposers()["grammar"].propose(told("llm"))
        with pytest.raises(NoProposal, match="gave up: it needs the future"):
            await LlmProposer(client).repair(candidate, refused(candidate), told("llm", attempt=1))
        (call,) = [row for row in await purse.rows(wait=False) if isinstance(row, LlmCall)]
    assert call.outcome is CallOutcome.answered
    assert call.candidate_id == candidate.candidate_id


async def test_a_file_of_the_inbox_is_taken_when_it_is_whole_and_complained_about_otherwise(tmp_path: Path) -> None:
    proposer = InboxProposer(tmp_path, timeout_s=60)
    asking = asyncio.create_task(proposer.propose(told("inbox")))
    place = tmp_path / "0009.0"
    while not (place / "brief.md").is_file():
        await asyncio.sleep(0.02)
    (place / "broken.py").write_text("class TokenMixer(:")
    (place / "link.py").symlink_to("/etc/hostname")
    while not (place / "complaints.md").is_file():
        await asyncio.sleep(0.05)
    assert not asking.done()
    (place / "good.py").write_text('"""Reads twice."""\nclass TokenMixer:\n    pass\n')
    another_clocks = time.time() + 5 * 3600
    os.utime(place / "good.py", (another_clocks, another_clocks))
    candidate = await asyncio.wait_for(asking, 60)
    assert (candidate.name, candidate.motivation) == ("good", "Reads twice.")
    complaints = (place / "complaints.md").read_text()
    assert "broken.py: it does not parse or has no class TokenMixer" in complaints
    assert "link.py: it is no plain file" in complaints
