"""How the driver asks its actors."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import ray

from agents.protocols import NoProposal
from orchestrator.errors import Fault, UsageError


async def answer(call: Any) -> Any:
    """Await an actor's answer; who stops waiting takes the question back.

    Raises:
        UsageError: the actor says so.
        Fault: its process is gone for good.
        NoProposal: the actor's agent says so.
    """
    try:
        return await call
    except asyncio.CancelledError:
        if isinstance(call, ray.ObjectRef) and ray.is_initialized():  # a simulation's questions are tasks of its own
            ray.cancel(call)
        raise
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UsageError | NoProposal):
            raise cause from None
        if isinstance(cause, ray.exceptions.RayActorError):
            raise Fault(_gone(cause)) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise Fault(_gone(error)) from error


def _gone(error: ray.exceptions.RayActorError) -> str:
    """Which actor it was, without Ray's pages on it."""
    named = re.search(r"class_name: (\w+)", str(error))
    actor = named[1] if named else "actor"
    return f"the process of the campaign's {actor} ended and cannot be restarted: the same command goes on"
