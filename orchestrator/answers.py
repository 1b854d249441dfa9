"""How the driver asks its actors."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from agents.protocols import NoProposal
from agents.telling import one_line
from orchestrator.errors import UsageError

_GONE = "the process of one of the campaign's actors ended and cannot be restarted"


async def answer(call: Any) -> Any:
    """Await an actor's answer; who stops waiting takes the question back.

    Raises:
        UsageError: the actor says so, or its process is gone for good.
        NoProposal: the actor's agent says so.
    """
    try:
        return await call
    except asyncio.CancelledError:
        if ray.is_initialized():
            ray.cancel(call)
        raise
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UsageError | NoProposal):
            raise cause from None
        if isinstance(cause, ray.exceptions.RayActorError):
            raise UsageError(f"{_GONE} ({one_line(str(error), 300)}): the same command goes on") from error
        raise
    except ray.exceptions.RayActorError as error:
        raise UsageError(f"{_GONE} ({one_line(str(error), 300)}): the same command goes on") from error
