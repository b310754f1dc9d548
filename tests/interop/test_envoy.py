"""A stock Envoy takes all that it gets from us, and routes Thrift by it."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apache
import pytest
import stock_envoy
import thriftpy2_hello
from full_mesh import HOST, NAMESPACE, everything, exact, to
from meltemi.model import (
    DestinationRule,
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    MetaRoute,
    MetaRouter,
    Service,
    ServicePort,
    Subset,
    Workload,
    WorkloadPort,
)
from stock_envoy import Envoy
from thrift_servers import thrift_servers, version_in, wait_for

FreePort = Callable[[], int]


class Servers:
    """Two versions of a Thrift server, each a process: v1 by thriftpy2, v2 by Apache Thrift."""

    def __init__(self, free_port: FreePort, variant: str, libraries: tuple[str, str]) -> None:
        self.variant, self.libraries = variant, libraries
        self.port, self.raw = free_port(), free_port()
        self.ports = {"v1": free_port(), "v2": free_port()}
        """Where each application listens, and its sidecar at another address."""

    def running(self, folder: Path) -> AbstractContextManager[None]:
        libraries = dict(zip(self.ports, self.libraries, strict=True))
        return thrift_servers(self.ports, libraries, self.variant, folder)

    def mesh(self, *routes: MetaRoute, sidecars: bool = False) -> Mesh:
        """The client calls HOST at 127.0.0.1; `sidecars`: an Envoy stands before each server."""
        address = "127.0.0.2" if sidecars else "127.0.0.1"
        servers = tuple(
            Workload(
                NAMESPACE,
                f"hello-{version}",
                (("app", "hello"), ("version", version)),
                ports=(WorkloadPort("main", port),),
                mode=MeshMode.SIDECAR,
                instances=(Instance(0, address, "127.0.0.1"),),
            )
            for version, port in self.ports.items()
        )
        endpoints = tuple(
            Endpoint(
                address, server.ports[0].port, server.labels, workload=f"{NAMESPACE}/{server.name}"
            )
            for server in servers
        )
        ports = (
            ServicePort(self.port, "tcp-metaprotocol-thrift", "thrift", 0),
            ServicePort(self.raw, "tcp-raw", "tcp", 0),
        )
        service = Service(
            HOST,
            NAMESPACE,
            "hello",
            ports,
            endpoints=tuple((port.number, endpoints) for port in ports),
        )
        subsets = tuple(Subset(v, (("version", v),)) for v in ("v1", "v2"))
        return Mesh(
            services={HOST: service},
            destination_rules=(DestinationRule(NAMESPACE, "hello", HOST, subsets=subsets),),
            meta_routers=(MetaRouter(NAMESPACE, "hello", HOST, routes),) if routes else (),
            workloads=(*servers, CLIENT),
        )


CLIENT = Workload(
    NAMESPACE,
    "client",
    mode=MeshMode.SIDECAR,
    instances=(Instance(0, "127.0.0.3", "127.0.0.4", ((HOST, "127.0.0.1"),)),),
)
CLIENT_ID = CLIENT.node_id(CLIENT.instances[0])


def ask(
    port: int,
    count: int,
    variant: str = "framed-binary",
    library: str = "thriftpy2",
    lane: str = "",
) -> collections.Counter[str]:
    """Which version answered how often, over one connection; each answer is to its own request."""
    found: collections.Counter[str] = collections.Counter()
    open_client = thriftpy2_hello.client if library == "thriftpy2" else apache.Client
    client = open_client(variant, "127.0.0.1", port)
    try:
        for n in range(count):
            if lane:
                client.protocol.trans.set_header(b"lane", lane.encode())
            reply = client.sayHello(f"caller {n}")
            assert reply.startswith(f"Hello caller {n}, response from ")
            found[version_in(reply)] += 1
    finally:
        client.close()
    return found


async def asked(*arguments: Any, **options: Any) -> collections.Counter[str]:
    """`ask`, while the server in this process goes on."""
    return await asyncio.to_thread(ask, *arguments, **options)


def rejected(counters: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in counters.items() if name.endswith("update_rejected") and n}


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "the change did not take effect within 20 s"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
@pytest.mark.parametrize("known", [True, False])
async def test_envoy_takes_one_of_everything(
    api_type: str, known: bool, free_port: FreePort, tmp_path: Path
) -> None:
    mesh = everything(free_port)
    server = mesh.workloads[0]
    node_id = server.node_id(server.instances[0]) if known else "some-envoy"
    async with (
        stock_envoy.control(mesh, free_port()) as control,
        stock_envoy.envoy(node_id, control, free_port(), tmp_path, api_type) as envoy,
    ):
        await envoy.until(lambda now: now["listener_manager.total_listeners_warming"] == 0)
        counters = envoy.counters()
        (status,) = control.server.nodes()
    log = (tmp_path / "envoy.log").read_text()
    assert rejected(counters) == {}, log
    assert counters["listener_manager.lds.update_success"] > 0
    assert counters["cluster_manager.cds.update_success"] > 0
    by_eds = [n for name, n in counters.items() if name.endswith("|" + HOST + ".update_success")]
    assert len(by_eds) == 3 * 4
    assert min(by_eds) > 0
    names = [service.hostname for service in mesh.services.values()]
    expected = 3 + (len(names) - 1) + (4 if known else 0)
    assert counters["listener_manager.total_listeners_active"] == expected, log
    assert counters["listener_manager.listener_create_failure"] == 0
    assert "deprecated" not in log.lower()
    assert status.node.user_agent.startswith("envoy 1.")


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
async def test_thrift_requests_go_where_the_rules_of_the_moment_say(
    api_type: str, free_port: FreePort, tmp_path: Path
) -> None:
    servers = Servers(free_port, "framed-binary", ("thriftpy2", "apache"))
    v1 = servers.mesh(to("v1", ("v1", 0), method=exact("sayHello")))
    v2 = servers.mesh(to("v2", ("v2", 0), method=exact("sayHello")))
    split = servers.mesh(to("split", ("v1", 20), ("v2", 80)))
    with servers.running(tmp_path):
        async with (
            stock_envoy.control(servers.mesh(), free_port()) as control,
            stock_envoy.envoy(CLIENT_ID, control, free_port(), tmp_path, api_type) as envoy,
        ):
            await asyncio.to_thread(wait_for, "127.0.0.1", servers.port)
            assert set(await asked(servers.port, 20)) == {"v1", "v2"}

            def all_from(version: str) -> bool:
                return set(ask(servers.port, 6)) == {version}

            for mesh, version in ((v1, "v1"), (v2, "v2")):
                control.change(mesh)
                await until(lambda expected=version: all_from(expected))  # type: ignore[misc]
            control.change(split)
            await until(lambda: not all_from("v2"))
            shares = await asked(servers.port, 400)
            assert 40 <= shares["v1"] <= 130  # 20 % of 400, by chance
            assert rejected(envoy.counters()) == {}


@pytest.mark.parametrize(
    ("variant", "libraries"),
    [
        ("framed-compact", ("thriftpy2", "apache")),
        ("unframed-binary", ("thriftpy2", "apache")),
        ("header", ("apache", "apache")),
    ],
)
async def test_both_libraries_are_served_in_every_transport(
    variant: str, libraries: tuple[str, str], free_port: FreePort, tmp_path: Path
) -> None:
    servers = Servers(free_port, variant, libraries)
    with servers.running(tmp_path):
        async with (
            stock_envoy.control(servers.mesh(), free_port()) as control,
            stock_envoy.envoy(CLIENT_ID, control, free_port(), tmp_path),
        ):
            await asyncio.to_thread(wait_for, "127.0.0.1", servers.port)
            for library in {*libraries, "apache"}:
                assert set(await asked(servers.port, 20, variant, library)) == {"v1", "v2"}


async def test_a_header_of_theader_is_an_attribute_that_routes(
    free_port: FreePort, tmp_path: Path
) -> None:
    servers = Servers(free_port, "header", ("apache", "apache"))
    lanes = servers.mesh(to("gray", ("v2", 0), lane=exact("gray")), to("rest", ("v1", 0)))
    with servers.running(tmp_path):
        async with (
            stock_envoy.control(lanes, free_port()) as control,
            stock_envoy.envoy(CLIENT_ID, control, free_port(), tmp_path),
        ):
            await asyncio.to_thread(wait_for, "127.0.0.1", servers.port)
            for lane, version in (("gray", "v2"), ("blue", "v1")):
                assert set(await asked(servers.port, 5, "header", "apache", lane)) == {version}


async def test_a_port_without_a_codec_is_forwarded_by_connection(
    free_port: FreePort, tmp_path: Path
) -> None:
    servers = Servers(free_port, "framed-binary", ("thriftpy2", "apache"))
    with servers.running(tmp_path):
        async with (
            stock_envoy.control(servers.mesh(), free_port()) as control,
            stock_envoy.envoy(CLIENT_ID, control, free_port(), tmp_path),
        ):
            await asyncio.to_thread(wait_for, "127.0.0.1", servers.raw)
            assert len(await asked(servers.raw, 10)) == 1


async def test_a_stock_envoy_stands_on_both_sides(free_port: FreePort, tmp_path: Path) -> None:
    servers = Servers(free_port, "framed-binary", ("thriftpy2", "apache"))
    mesh = servers.mesh(to("v1", ("v1", 0)), sidecars=True)
    server = mesh.workloads[0]
    server_id = server.node_id(server.instances[0])
    with servers.running(tmp_path):
        async with (
            stock_envoy.control(mesh, free_port()) as control,
            stock_envoy.envoy(server_id, control, free_port(), tmp_path / "server") as inbound,
            stock_envoy.envoy(CLIENT_ID, control, free_port(), tmp_path / "client") as outbound,
        ):
            await asyncio.to_thread(wait_for, "127.0.0.1", servers.port)
            await asyncio.to_thread(wait_for, "127.0.0.2", servers.ports["v1"])
            assert set(await asked(servers.port, 10)) == {"v1"}
            assert _requests(outbound, f"outbound|{servers.port}||{HOST}") == 10
            assert _requests(inbound, f"inbound|{servers.ports['v1']}||{HOST}") == 10


def _requests(envoy: Envoy, stat_prefix: str) -> int:
    return envoy.counters()[f"thrift.{stat_prefix}.request"]
