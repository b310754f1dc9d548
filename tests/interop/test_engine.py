"""The engine takes all that it gets from us, and refuses to send what would be unsafe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apache
import full_mesh
import pytest
from engine_of import engine
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
from thrift.Thrift import TApplicationException
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
