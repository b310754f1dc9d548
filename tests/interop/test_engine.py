"""The engine takes all that it gets from us, and refuses to send what would be unsafe."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apache
import full_mesh
import pytest
from engine_of import engine
from meltemi import config
from meltemi.model import (
    DestinationRule,
    Endpoint,
    Instance,
    Mesh,
    MeshMode,
    Resolution,
    Service,
    ServicePort,
    TrafficPolicy,
    Workload,
)
from meltemi.model.addresses import Addresses
from thrift.Thrift import TApplicationException
from thrift_frames import call, called, read_frame
from thrift_servers import thrift_servers, wait_for

FreePort = Callable[[], int]
HOST, NAMESPACE = full_mesh.HOST, full_mesh.NAMESPACE


def test_the_engine_takes_one_of_everything(free_port: FreePort) -> None:
    mesh = full_mesh.everything(free_port)
    (workload,) = mesh.workloads
    with engine(mesh, workload) as running:
        for service in mesh.services.values():
            for port in service.ports:
                wait_for("127.0.0.7", port.number)
        for own in workload.ports:
            wait_for("127.0.0.5", own.port)
            wait_for("127.0.0.1", own.host_port or 0)
        assert running.listener_errors() == []
        assert running.warming() == []


def calling(port: int, service: Service, rule: DestinationRule | None = None) -> Mesh:
    instance = Instance(0, "127.0.0.3", "127.0.0.4", ((HOST, "127.0.0.1"),))
    client = Workload(NAMESPACE, "client", mode=MeshMode.SIDECAR, instances=(instance,))
    thrift = ServicePort(port, "tcp-thrift", "thrift", 0)
    endpoints = tuple((port, members) for _, members in service.endpoints)
    return Mesh(
        services={HOST: dataclasses.replace(service, ports=(thrift,), endpoints=endpoints)},
        destination_rules=(rule,) if rule else (),
        workloads=(client,),
    )


def hello(address: str, port: int, resolution: Resolution = Resolution.STATIC) -> Service:
    endpoints = ((0, (Endpoint(address, port),)),)
    return Service(HOST, NAMESPACE, "hello", (), resolution, endpoints=endpoints)


@pytest.mark.parametrize(
    ("address", "resolution", "unsafe", "reason"),
    [
        (
            "127.0.0.1",
            Resolution.STATIC,
            "tls SIMPLE is not there yet",
            "tls SIMPLE is not there yet",
        ),
        (
            "localhost",
            Resolution.DNS,
            None,
            "localhost is a name, and resolution DNS is not there yet",
        ),
        ("127.0.0.1", Resolution.NONE, None, "resolution NONE, which is not there yet"),
    ],
)
def test_a_destination_that_must_not_be_called_answers_why(
    address: str,
    resolution: Resolution,
    unsafe: str | None,
    reason: str,
    free_port: FreePort,
    tmp_path: Path,
) -> None:
    port, server = free_port(), free_port()
    rule = DestinationRule(NAMESPACE, "hello", HOST, TrafficPolicy(unsafe=unsafe))
    mesh = calling(port, hello(address, server, resolution), rule)
    with (
        thrift_servers({"v1": server}, {"v1": "apache"}, "framed-binary", tmp_path),
        engine(mesh, mesh.workloads[0]),
    ):
        wait_for("127.0.0.1", port)
        with (
            closing(apache.Client("framed-binary", "127.0.0.1", port)) as client,
            pytest.raises(TApplicationException) as raised,
        ):
            client.sayHello("x")
    message = str(raised.value.message)
    assert reason in message
    assert f"outbound|{port}||{HOST}" in message


MULTIPLEXED = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: hello
  namespace: {NAMESPACE}
  annotations: {{meltemi.io/max-in-flight-per-connection: "64"}}
spec: {{host: {HOST}}}
"""


@pytest.mark.parametrize(
    ("document", "connections"), [(MULTIPLEXED, 1), (MULTIPLEXED.replace("64", "1"), 2)]
)
def test_requests_share_an_upstream_connection_where_a_rule_says_so(
    document: str, connections: int, free_port: FreePort
) -> None:
    loaded = config.load([config.Source("rule.yaml", document)])
    (rule,) = config.build(loaded.objects, Addresses())[0].destination_rules
    port, server = free_port(), free_port()
    mesh = calling(port, hello("127.0.0.1", server), rule)
    with socket.create_server(("127.0.0.1", server)) as upstream, contextlib.ExitStack() as stack:
        stack.enter_context(engine(mesh, mesh.workloads[0]))
        wait_for("127.0.0.1", port)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        client.sendall(call("first", 1) + call("second", 2))
        upstream.settimeout(5)
        accepted = [upstream.accept()[0] for _ in range(connections)]
        asked = []
        for ordinal in range(2):  # both are there before one is answered
            one = accepted[ordinal % connections]
            stack.callback(one.close)
            one.settimeout(5)
            asked.append((one, called(read_frame(one))))
        upstream.settimeout(0.2)
        with pytest.raises(TimeoutError):
            upstream.accept()
        for one, (method, _, seqid) in reversed(asked):
            one.sendall(call(method, seqid, kind=2))
        replies = [called(read_frame(client)) for _ in range(2)]
    assert replies == [("first", 2, 1), ("second", 2, 2)]
