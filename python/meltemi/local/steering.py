"""What `up` asks its control plane over the mesh's Unix socket: which workloads are to run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from meltemi.controlplane.state import short_path

log = logging.getLogger("meltemi.local")

POLL_S = 30.0  # a long poll that brings nothing is asked again
RETRY_S = 0.05  # while the control plane starts, or starts again


async def workload_versions(socket: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """Gives the workloads that are to run, at once, after each change, and when a control plane is
    back that was away.

    One that is away is waited for: what it said last stays."""
    version: str | None = None
    with short_path(socket) as path:
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(transport=transport, base_url="http://meltemi") as client:
            while True:
                try:
                    parameters = {} if version is None else {"after": version}
                    reply = await client.get(
                        "/v1/workloads", params=parameters, timeout=POLL_S + 10
                    )
                    reply.raise_for_status()
                    body = reply.json()
                except (httpx.HTTPError, ValueError):
                    version = None
                    await asyncio.sleep(RETRY_S)
                    continue
                if body["version"] != version:
                    version = body["version"]
                    yield body["workloads"]
