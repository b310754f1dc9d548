"""One route edited in a large mesh, until the last node that uses it has acknowledged (G22).

The nodes are streams of one process, which decodes each response and answers it; the same nodes are
connected to a bare gRPC server that pushes the same bytes. Rounds take turns."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from meltemi.xds import discovery, messages
from meltemi.xds.discovery import DeltaRequest
from meltemi.xds.resource import Node
from meltemi.xds.shell import node_message

from control_plane import bare_server, documents, processes

NODES = 200
SERVICES = 1000
FEW_SERVICES = 100
ROUNDS = 9
EDITED = 7
"""The application whose route is edited."""

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
QUIET_S = 0.25
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Pushed:
    """Of one edit: `wall_s` until the last acknowledgement, `cpu_s` of the server process."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Result:
    """Medians in seconds, and the two ratios of the goal."""

    ours_s: float
    bare_s: float
    ours_cpu_s: float
    bare_cpu_s: float
    few_cpu_s: float
    against_bare: float
    many_against_few: float


class _Nodes:
    """Streams that answer each response, and say when all of them have."""

    def __init__(self) -> None:
        self.answered = 0
        self.all_answered = asyncio.Event()
        self.last_s = 0.0
        self.sample = b""
        """The last response, as it came."""
        self.expected = ""
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, type_url: str) -> None:
        self.answered, self.expected = 0, type_url
        self.all_answered.clear()

    def take(self, data: bytes) -> DeltaRequest:
        response = discovery.decode_delta_response(data)
        self.sample = data
        self.at(response.type_url)
        return DeltaRequest(response.type_url, nonce=response.nonce)

    def at(self, type_url: str) -> None:
        self.last_s = time.perf_counter()
        if type_url == self.expected:
            self.answered += 1
            if self.answered == NODES:
                self.all_answered.set()

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.all_answered.wait()

    async def quiet(self) -> None:
        """Until nothing has come for a while."""
        while time.perf_counter() - self.last_s < QUIET_S:
            await asyncio.sleep(QUIET_S / 5)

    async def follow(self, call: Any) -> None:
        while (data := await call.read()) is not grpc.aio.EOF:
            await call.write(discovery.encode_delta_request(self.take(data)))


def _channel(stack: contextlib.AsyncExitStack, address: str) -> Any:
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    return stack.enter_async_context(grpc.aio.insecure_channel(address, options))


@contextlib.asynccontextmanager
async def _connected(address: str, method: str, services: int) -> AsyncIterator[_Nodes]:
    """The nodes, each with a connection of its own, once they have all they ask for."""
    nodes = _Nodes()
    nodes.begin(messages.ROUTE)
    async with contextlib.AsyncExitStack() as stack:
        for ordinal in range(NODES):
            channel = await _channel(stack, address)
            call = channel.stream_stream(method)()
            for request, node in _requests(ordinal, services):
                await call.write(discovery.encode_delta_request(request, node))
            nodes.tasks.append(asyncio.create_task(nodes.follow(call)))
        if services:
            await nodes.wait()  # until each has its first routes
        await nodes.quiet()
        try:
            yield nodes
        finally:
            for task in nodes.tasks:
                task.cancel()
            await asyncio.gather(*nodes.tasks, return_exceptions=True)


def _requests(ordinal: int, services: int) -> list[tuple[DeltaRequest, Any]]:
    """What a node without listeners asks for: every cluster, its endpoints, and every route."""
    place = documents.namespace(ordinal)
    node = Node.of(
        f"sidecar~10.200.0.{ordinal}~node-{ordinal}.{place}~{place}.svc.cluster.local",
        metadata={"MELTEMI_CLIENT": "sdk"},
    )
    hosts = [documents.host(n) for n in range(services)]
    subsets = ("", "v1", "v2")
    clusters = tuple(f"outbound|9090|{subset}|{host}" for host in hosts for subset in subsets)
    routes = tuple(f"{host}_9090" for host in hosts)
    return [
        (DeltaRequest(messages.CLUSTER), node_message(node)),
        (DeltaRequest(messages.ENDPOINT, subscribe=clusters), None),
        (DeltaRequest(messages.ROUTE, subscribe=routes), None),
    ]


class _Ours:
    """A control plane over a folder of `services` applications, and the nodes on it."""

    def __init__(self, directory: Path, services: int) -> None:
        self.directory, self.services = directory, services
        self.file = directory / "edited.yaml"
        self.weight = 80

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        parts = [documents.app(n) for n in range(self.services)]
        self.directory.mkdir()
        for start in range(0, self.services, 20):
            apps = [part for n, app in enumerate(parts) if start <= n < start + 20 for part in app]
            apps = [part for part in apps if part != documents.router(EDITED)]
            (self.directory / f"apps-{start:04}.yaml").write_text(documents.written(apps))
        self.file.write_text(documents.router(EDITED))
        with processes.control_plane(self.directory) as self.plane:
            async with _connected(self.plane.xds, ADS, self.services) as self.nodes:
                yield

    async def edit(self) -> Pushed:
        """Saves another weight."""
        self.weight = 80 if self.weight != 80 else 20
        self.nodes.begin(messages.ROUTE)
        cpu, began = self.plane.cpu_s(), time.perf_counter()
        self.file.write_text(documents.router(EDITED, self.weight))
        await self.nodes.wait()
        wall = self.nodes.last_s - began
        await self.nodes.quiet()  # what it still does afterwards counts too
        return Pushed(wall, self.plane.cpu_s() - cpu)


class _Bare:
    """The bare server, and as many nodes on it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "pushed.bin"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        (port,) = processes.free_ports(1)
        self.process = subprocess.Popen(
            [sys.executable, bare_server.__file__, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdout.readline()
            async with _connected(f"127.0.0.1:{port}", bare_server.METHOD, 0) as self.nodes:
                yield
        finally:
            self.process.stdin.close()
            self.process.wait(10)
            self.process.stdout.close()

    async def push(self, data: bytes) -> Pushed:
        assert self.process.stdin is not None
        self.file.write_bytes(data)
        self.nodes.begin(messages.ROUTE)
        cpu, began = processes.cpu_s(self.process.pid), time.perf_counter()
        self.process.stdin.write(f"{self.file}\n".encode())
        self.process.stdin.flush()
        await self.nodes.wait()
        wall = self.nodes.last_s - began
        await self.nodes.quiet()
        return Pushed(wall, processes.cpu_s(self.process.pid) - cpu)


async def _measure(rounds: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder:
        many, few = _Ours(Path(folder, "many"), SERVICES), _Ours(Path(folder, "few"), FEW_SERVICES)
        bare = _Bare(Path(folder))
        ours: list[Pushed] = []
        fewer: list[Pushed] = []
        peer: list[Pushed] = []
        async with many.running(), few.running(), bare.running():
            for number in range(rounds + 1):
                one, other = await many.edit(), await few.edit()
                same = await bare.push(many.nodes.sample)
                if number:  # the first warms up
                    ours.append(one)
                    fewer.append(other)
                    peer.append(same)
    return _result(ours, fewer, peer)


def _result(ours: list[Pushed], fewer: list[Pushed], peer: list[Pushed]) -> Result:
    def cpu(of: list[Pushed]) -> float:
        return statistics.median(each.cpu_s for each in of)

    walls = [statistics.median(each.wall_s for each in of) for of in (ours, peer)]
    pairs = zip(ours, peer, strict=True)
    return Result(
        ours_s=walls[0],
        bare_s=walls[1],
        ours_cpu_s=cpu(ours),
        bare_cpu_s=cpu(peer),
        few_cpu_s=cpu(fewer),
        against_bare=statistics.median(one.wall_s / other.wall_s for one, other in pairs),
        many_against_few=statistics.median(
            one.cpu_s / other.cpu_s for one, other in zip(ours, fewer, strict=True)
        ),
    )


def pushing(rounds: int = ROUNDS) -> Result:
    """G22, both ratios; about a minute."""
    return asyncio.run(_measure(rounds))


if __name__ == "__main__":
    print(pushing())
