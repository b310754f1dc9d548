"""A server on a free port, stopped when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from ads_streams import Running, Start
from meltemi.xds.server import AdsServer, Authenticate, ServerLimits, anybody
from xds_source import Held, one_of_each


@pytest.fixture
async def start(free_port: Callable[[], int]) -> AsyncIterator[Start]:
    """Starts servers: `await start(source=..., authenticate=..., limits=...)` gives a Running."""
    async with AsyncExitStack() as stack:

        async def started(
            source: Held | None = None,
            authenticate: Authenticate = anybody,
            limits: ServerLimits | None = None,
        ) -> Running:
            held = source or one_of_each()
            server = AdsServer(held, authenticate, limits)
            port = await server.start(f"127.0.0.1:{free_port()}")
            stack.push_async_callback(server.stop, 0)
            return Running(server, held, port, stack)

        yield started
