"""Tells the control plane which instances can be called. It leaves out the endpoints of others."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx

from meltemi.controlplane.state import short_path

TELL_S = 2.0  # the control plane answers at once, or is away
KNOWN_S = 1.0  # for so long nodes are waited for


class Readiness:
    """Of one running mesh. Who is told later what changed before is told all of it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._ready: set[str] = set()

    def may_be_called(self, address: str, can: bool) -> bool:
        """Notes it; whether that is new."""
        if can == (address in self._ready):
            return False
        (self._ready.add if can else self._ready.discard)(address)
        return True

    async def tell(self) -> None:
        """A control plane that is away is told when it is back."""
        await self._call("PUT", "/v1/ready", TELL_S, {"addresses": sorted(self._ready)})

    async def known(self) -> None:
        """Returns once all nodes go by what was told, or after KNOWN_S."""
        await self._call("GET", "/v1/pushed", KNOWN_S, None)

    async def _call(self, method: str, path: str, within_s: float, body: object) -> None:
        with short_path(self._socket) as uds, contextlib.suppress(httpx.HTTPError):
            transport = httpx.AsyncHTTPTransport(uds=uds, verify=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://meltemi") as client:
                await client.request(method, path, json=body, timeout=within_s)
