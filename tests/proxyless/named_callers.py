"""The clients of a mesh with one face: a call takes the server so many seconds, and gives the name
of who answered (`answering`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import thrift_peers
import versioned_grpc
from meltemi.proxyless.mesh import Mesh

Call = Callable[[float], str]
NAMES = ("thrift", "thrift_async", "grpc", "httpx")
PROTOCOLS = {"thrift": "thrift", "thrift_async": "thrift", "grpc": "grpc", "httpx": "http"}


@contextlib.contextmanager
def thrift(mesh: Mesh, target: str, folder: Path) -> Iterator[Call]:
    module: Any = thrift_peers.load(folder)
    with mesh.thrift(target, module.Reviews, wire="ttheader") as client:
        yield lambda work_s: str(client.echo(str(work_s)))


@contextlib.contextmanager
def thrift_async(mesh: Mesh, target: str, folder: Path) -> Iterator[Call]:
    """In a loop that runs in a thread."""
    module: Any = thrift_peers.load(folder)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    client = mesh.thrift_async(target, module.Reviews, wire="ttheader")

    async def call(work_s: float) -> str:
        return str(await client.echo(str(work_s)))

    async def close() -> None:
        client.close()
        await asyncio.sleep(0.05)  # until its sockets are

    try:
        yield lambda work_s: asyncio.run_coroutine_threadsafe(call(work_s), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def grpc(mesh: Mesh, target: str, folder: Path) -> Iterator[Call]:
    with mesh.grpc(target) as channel:
        one = channel.unary_unary(versioned_grpc.ONE)

        def call(work_s: float) -> str:
            return str(json.loads(one(b"wait %f" % work_s, timeout=20))["version"])

        yield call


@contextlib.contextmanager
def httpx(mesh: Mesh, target: str, folder: Path) -> Iterator[Call]:
    with mesh.httpx(f"http://{target}") as client:

        def call(work_s: float) -> str:
            answer = client.get(f"/wait/{work_s}").raise_for_status()
            return str(answer.json()["version"])

        yield call


def calling(
    name: str, mesh: Mesh, target: str, folder: Path
) -> contextlib.AbstractContextManager[Call]:
    """`name`: one of NAMES."""
    made = {"thrift": thrift, "thrift_async": thrift_async, "grpc": grpc, "httpx": httpx}[name]
    return made(mesh, target, folder)
