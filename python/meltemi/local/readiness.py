"""Tells the control plane which instances can be called. It leaves out the endpoints of others."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx

from meltemi.controlplane.state import short_path

ANSWER_S = 15.0  # the control plane answers at once, and of nodes that come back after 10 s
KNOWN_S = 1.0  # for so long nodes are waited for


class Readiness:
    """Of one running mesh. Who is told later what changed before is told all of it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._ready: set[str] = set()
        self._asking: set[asyncio.Task[None]] = set()

    def may_be_called(self, address: str, can: bool) -> bool:
        """Notes it; whether that is new."""
        if can == (address in self._ready):
            return False
        (self._ready.add if can else self._ready.discard)(address)
        return True

    async def tell(self) -> None:
        """A control plane that is away is told when it is back."""
        await self._call("PUT", "/v1/ready", {"addresses": sorted(self._ready)})

    async def known(self) -> None:
        """Returns once all nodes go by what was told, or after KNOWN_S."""
        asking = asyncio.create_task(self._call("GET", "/v1/pushed", None))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        # It is left to end by itself: anyio's Unix sockets do not take it well to be cancelled in
        # the moment in which an answer comes.
        await asyncio.wait({asking}, timeout=KNOWN_S)

    async def _call(self, method: str, path: str, body: object) -> None:
        with short_path(self._socket) as uds, contextlib.suppress(httpx.HTTPError):
            transport = httpx.AsyncHTTPTransport(uds=uds, verify=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://meltemi") as client:
                await client.request(method, path, json=body, timeout=ANSWER_S)
