"""The columns of the lane table: each carries a request from hop to hop, and says who answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache
import grpc
import httpx
import stock_envoy
import thriftpy2_hello
import yaml
from control_plane_process import Running, running
from lane_hops import Call, FreePort, Headers, Hops, Ports, Refused, instances, order
from lane_table import HOPS, LABELS, TABLE, Row
from meltemi import proxyless
from meltemi.proxyless import MeltemiError, handoff
from meltemi.proxyless.context import incoming
from meltemi.proxyless.mesh import Mesh
from mesh import meltemi
from mesh_clients import (
    GRPC,
    HTTP,
    PORTS,
    THRIFT,
    WORKLOAD,
    blocking,
    envoy_of_http,
    envoy_of_thrift,
    grpc_caller,
    service_addresses,
)
from mesh_clients import LABELS as CALLER
from opentelemetry.context import attach, detach
from sidecar_process import sidecar
from thrift.Thrift import TApplicationException
from thrift_servers import wait_for

NAMES = ("sidecar", "sdk-thrift", "sdk-httpx", "sdk-grpc", "grpcio", "envoy-thrift", "envoy-http")
PATH = "/hello.HelloService/sayHello"
TIMEOUT_S = 20


def documents(row: Row, ports: Ports) -> Iterator[dict[str, Any]]:
    """The three services of a row, its groups and lanes, in a namespace of its own."""
    for hop in HOPS:
        yield _document(
            "networking.istio.io/v1", "ServiceEntry", hop, row, _service(row, hop, ports)
        )
    services = [{"host": row.host(hop), **own} for hop, own in row.services.items()]
    group = {"baggageKey": "env", **row.group, "services": services}
    yield _document("meltemi.io/v1alpha1", "LaneGroup", "group", row, group)
    for name, spec in row.lanes.items():
        yield _document("meltemi.io/v1alpha1", "Lane", name, row, {"group": "group", **spec})
    more = row.more.replace("NAMESPACE", row.name)
    for hop in HOPS:
        more = more.replace(f"HOST_{hop.upper()}", row.host(hop))
    yield from (each for each in yaml.safe_load_all(more) if each)


def _document(version: str, kind: str, name: str, row: Row, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": row.name}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _service(row: Row, hop: str, ports: Ports) -> dict[str, Any]:
    return {
        "hosts": [row.host(hop)],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            {"number": number, "name": name, "protocol": "TCP" if name == THRIFT else name.upper()}
            for name, number in PORTS.items()
        ],
        "endpoints": [
            {
                "address": "127.0.0.1",
                "ports": {protocol: of[hop, word] for protocol, of in ports.items()},
                "labels": LABELS[word.rstrip("!")],
            }
            for word in row.at[hop].split()
        ],
    }


# === columns ===


def _carried(headers: Headers | None) -> dict[str, str]:
    """What a hop sends on, by a client that does not do it itself."""
    if headers is not None:
        return dict(headers)
    found: dict[str, str] = {}
    handoff.inject(found)
    return found


def thrift_through(addresses: Mapping[str, str]) -> Call:
    """Apache's library, with headers of THeader, to the proxy's address for the host."""

    def call(host: str, text: str, headers: Headers | None) -> str:
        client = apache.Client("header", addresses[host], PORTS[THRIFT], TIMEOUT_S)
        try:
            for name, value in _carried(headers).items():
                client.protocol.trans.set_header(name.encode(), value.encode())
            return client.sayHello(text)
        except TApplicationException as error:
            raise Refused(str(error.message)) from None
        finally:
            client.close()

    return call


@contextlib.contextmanager
def _within(headers: Headers | None) -> Iterator[None]:
    """The context of a request that came with the headers."""
    if headers is None:
        yield
        return
    token = attach(incoming(headers))
    try:
        yield
    finally:
        detach(token)


class _Kept:
    """One client for each host."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: dict[str, Any] = {}

    def __call__(self, host: str) -> Any:
        with self._lock:
            if host not in self._made:
                self._made[host] = self._make(host)
            return self._made[host]

    def close(self) -> None:
        for client in self._made.values():
            client.close()


def sdk_thrift(clients: _Kept) -> Call:
    def call(host: str, text: str, headers: Headers | None) -> str:
        with _within(headers):
            try:
                return str(clients(host).sayHello(text))
            except MeltemiError as error:
                raise Refused(str(error)) from None

    return call


def sdk_httpx(clients: _Kept) -> Call:
    def call(host: str, text: str, headers: Headers | None) -> str:
        with _within(headers):
            try:
                answer: httpx.Response = clients(host).post(PATH, content=text)
            except httpx.ConnectError as error:
                raise Refused(str(error)) from None
        return answer.raise_for_status().text

    return call


def sdk_grpc(clients: _Kept) -> Call:
    def call(host: str, text: str, headers: Headers | None) -> str:
        with _within(headers):
            try:
                method = clients(host).unary_unary(PATH)
                answer: bytes = method(text.encode(), timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    raise Refused(error.details()) from None
                raise
        return answer.decode()

    return call


def grpcio(callers: Mapping[str, subprocess.Popen[str]]) -> Call:
    """A process for each hop: who is called calls on, before there is an answer."""
    locks = {hop: threading.Lock() for hop in callers}

    def call(host: str, text: str, headers: Headers | None) -> str:
        hop = json.loads(text)["hop"]
        command = {
            "target": f"xds:///{host}:{PORTS[GRPC]}",
            "method": PATH,
            "text": text,
            "count": 1,
            "timeout_s": TIMEOUT_S,
            "metadata": list(_carried(headers).items()),
        }
        with locks[hop]:
            stdin, stdout = callers[hop].stdin, callers[hop].stdout
            assert stdin is not None and stdout is not None
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            (answer,) = json.loads(stdout.readline())["answers"]
        if answer.startswith("UNAVAILABLE: "):
            raise Refused(answer)
        return str(answer)

    return call


def http_through(ports: Mapping[str, int]) -> Call:
    """Plain HTTP to the proxy's port for the host."""

    def call(host: str, text: str, headers: Headers | None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", ports[host], timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            sent = {"host": f"{host}:{PORTS[HTTP]}", **_carried(headers)}
            connection.request("POST", PATH, text, sent)
            answer = connection.getresponse()
            body = answer.read().decode()
        if answer.status == 503:
            raise Refused(body)
        assert answer.status == 200, (answer.status, body)
        return body

    return call


# === what runs ===


@dataclass
class World:
    hops: Hops
    plane: Running
    envoys: dict[str, stock_envoy.Envoy]

    def way(self, column: str, row: Row, baggage: str) -> list[str]:
        """The lane of every hop."""
        headers = {"baggage": baggage} if baggage else {}
        return self.hops.way(order(row.name, HOPS[0], column), headers)


@contextlib.contextmanager
def world(folder: Path, free_port: FreePort) -> Iterator[World]:
    """One control plane with the hosts of all rows, and all clients of it."""
    hops = Hops()
    directory = folder / "mesh"
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        ports = stack.enter_context(instances(hops, free_port))
        text = "".join(
            yaml.safe_dump(each) + "---\n" for row in TABLE for each in documents(row, ports)
        )
        workloads = WORKLOAD.format("front") + WORKLOAD.format("before")
        (directory / "mesh.yaml").write_text(workloads + text)
        valid = meltemi("validate", "-f", str(directory))
        assert valid.code == 0, valid.out
        plane = stack.enter_context(running(directory, (free_port(), free_port())))
        envoys = _columns(stack, hops, plane, free_port, folder)
        yield World(hops, plane, envoys)


def _columns(
    stack: contextlib.ExitStack, hops: Hops, plane: Running, free_port: FreePort, folder: Path
) -> dict[str, stock_envoy.Envoy]:
    """Starts the clients: `hops.calls`."""
    hosts = [row.host(hop) for row in TABLE for hop in HOPS]
    listening = {host: free_port() for host in hosts}
    stack.enter_context(sidecar(plane, plane.node_id("front")))
    of_thrift = envoy_of_thrift(plane, free_port(), folder / "envoy-thrift")
    of_http = envoy_of_http(plane, listening, free_port(), folder / "envoy-http")
    envoys = {
        "thrift": stack.enter_context(blocking(of_thrift)),
        "http": stack.enter_context(blocking(of_http)),
    }
    addresses = {name: service_addresses(plane, name) for name in ("front", "before")}
    for each in addresses.values():
        wait_for(each[hosts[-1]], PORTS[THRIFT])
    mesh = stack.enter_context(
        proxyless.connect(
            plane.xds, pod="a-caller", instance_ip="127.0.0.7", labels=CALLER, last_known="off"
        )
    )
    callers = {hop: stack.enter_context(grpc_caller(plane, folder)) for hop in HOPS}
    hops.calls.update(
        {
            "sidecar": thrift_through(addresses["front"]),
            **_of_sdk(stack, mesh),
            "grpcio": grpcio(callers),
            "envoy-thrift": thrift_through(addresses["before"]),
            "envoy-http": http_through(listening),
        }
    )
    return envoys


def _of_sdk(stack: contextlib.ExitStack, mesh: Mesh) -> dict[str, Call]:
    service = thriftpy2_hello.hello.HelloService

    def thrift(host: str) -> Any:
        return mesh.thrift(f"{host}:{PORTS[THRIFT]}", service, package="hello", wire="ttheader")

    def kept(make: Callable[[str], Any]) -> _Kept:
        return stack.enter_context(contextlib.closing(_Kept(make)))

    return {
        "sdk-thrift": sdk_thrift(kept(thrift)),
        "sdk-httpx": sdk_httpx(kept(lambda host: mesh.httpx(f"http://{host}:{PORTS[HTTP]}"))),
        "sdk-grpc": sdk_grpc(kept(lambda host: mesh.grpc(f"{host}:{PORTS[GRPC]}"))),
    }


def refused(way: Sequence[str]) -> str | None:
    """The reason of the error that ends a way."""
    return way[-1][1:] if way[-1].startswith("!") else None
