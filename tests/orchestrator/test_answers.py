"""An actor that is gone: a fault of nobody's input, with its own exit code."""

from __future__ import annotations

import os

import pytest
import ray

from orchestrator import __main__ as command
from orchestrator.answers import answer
from orchestrator.campaign import Campaign
from orchestrator.errors import Fault, UsageError


class LedgerOfATest:
    async def end(self) -> None:
        os._exit(1)

    async def refuse(self) -> None:
        raise UsageError("words is 'none': give some")


async def test_an_actor_that_ended_is_a_fault_with_its_name(ray_here: None) -> None:
    actor = ray.remote(LedgerOfATest).remote()
    with pytest.raises(UsageError, match=r"^words is 'none': give some$") as told:
        await answer(actor.refuse.remote())
    assert not isinstance(told.value, Fault)
    with pytest.raises(Fault, match=r"campaign's LedgerOfATest ended and cannot be restarted"):
        await answer(actor.end.remote())


@pytest.mark.parametrize(("error", "code"), [(Fault("it is gone"), 75), (UsageError("it is wrong"), 2)])
def test_a_fault_while_it_starts_says_that_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: UsageError, code: int
) -> None:
    def run(_: Campaign) -> None:
        raise error

    monkeypatch.setattr(Campaign, "run", run)
    assert command.main(["+campaign=linear_attn", "scale=tiny", "tracking=none"]) == code
    assert capsys.readouterr().err == f"error: {error}\n"
