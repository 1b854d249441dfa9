"""Vectors by a model for a campaign: fetched before they are asked for, so that indexes need not wait.

Where the model cannot be had, the campaign goes on with the local embedder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np
import ray

from cognition.embedding import NoVectors, Vectors


class Source(Protocol):
    """Where vectors come from."""

    async def name(self) -> str:
        """What makes its vectors comparable. Raises NoVectors."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """[N] texts -> [N, D]. Raises NoVectors."""
        ...


class RemoteSource:
    """A model, asked by an actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def name(self) -> str:
        return str(await _answered(self._actor.name.remote()))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = await _answered(self._actor.embed.remote(list(texts)))
        return vectors


class Prepared:
    """An embedder that knows the vectors of the texts which were prepared last."""

    def __init__(self, name: str, fetch: Callable[[Sequence[str]], Awaitable[Vectors]]) -> None:
        self.name = name
        self._fetch = fetch
        self._known: dict[str, Vectors] = {}

    async def prepare(self, texts: Sequence[str]) -> None:
        """Fetch the vectors of texts; those of earlier ones are forgotten. Raises NoVectors."""
        wanted = list(dict.fromkeys(texts))
        known = {text: self._known[text] for text in wanted if text in self._known}
        missing = [text for text in wanted if text not in known]
        if missing:
            known |= dict(zip(missing, await self._fetch(missing), strict=True))
        self._known = known

    def knows(self, texts: Sequence[str]) -> bool:
        """Whether nothing would have to be fetched for them."""
        return all(text in self._known for text in texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        assert all(text in self._known for text in texts), "prepare the texts first"
        return np.stack([self._known[text] for text in texts]) if texts else np.zeros((0, 0), dtype=np.float32)


async def _answered(call: Any) -> Any:
    try:
        return await call
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, NoVectors) else NoVectors(f"{type(cause).__name__}: {cause}")) from error
    except ray.exceptions.RayError as error:
        raise NoVectors(f"the process that asks it ended ({type(error).__name__})") from error
