"""Whether the cluster's head still answers.

Where it does not, Ray ends this process after a minute, without an exception or `finally`: the campaign has to end
before. Nothing of Ray is asked here, since its own calls wait for the head as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

# What every client of HTTP/2 begins with, gRPC's too: a server that lives answers with its own settings.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_EVERY_S, _TIMEOUT_S = 1.0, 5.0


async def until_lost(address: str, patience_s: float) -> str:
    """Return once nobody has answered at an address HOST:PORT for so many seconds; says so in one line."""
    hello = HELLO if await _answers(address, HELLO) else b""  # behind TLS it takes connections and says nothing
    heard = time.monotonic()
    while True:
        await asyncio.sleep(_EVERY_S)
        if await _answers(address, hello):
            heard = time.monotonic()
        elif (silent_s := time.monotonic() - heard) >= patience_s:
            return (
                f"the head of the Ray cluster at {address} has not answered for {silent_s:.0f} s: start one or mend "
                "the network"
            )


async def _answers(address: str, hello: bytes) -> bool:
    """Whether somebody takes a connection there and, where anything is said, says something back."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            with contextlib.closing(writer):
                writer.write(hello)
                return not hello or bool(await reader.read(1))
    except OSError:  # TimeoutError is one
        return False
