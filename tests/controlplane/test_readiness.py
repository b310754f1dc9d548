"""Who can be called: callers are told of nobody else."""

from __future__ import annotations

import functools

import pytest
from control_plane_process import HOST, Running, listening
from meltemi.controlplane.readiness import Readiness
from meltemi.model import Endpoint, Instance, Mesh, Service, ServicePort, Workload
from meltemi.xds import messages

FIRST, SECOND, OTHER = "127.9.1.1", "127.9.1.2", "10.0.0.7"
PORT = ServicePort(9090, "tcp-metaprotocol-thrift", "thrift", 9090)


def service(name: str, *addresses: str) -> Service:
    endpoints = tuple(Endpoint(each, 9090) for each in addresses)
    return Service(f"{name}.mesh", "shop", name, (PORT,), endpoints=((9090, endpoints),))


def mesh() -> Mesh:
    """`both` has two replicas of ours, `others` one that somebody else runs."""
    instances = (Instance(0, FIRST, FIRST), Instance(1, SECOND, SECOND))
    services = [service("both", FIRST, SECOND), service("others", OTHER)]
    return Mesh(
        {each.hostname: each for each in services},
        workloads=(Workload("shop", "both", instances=instances),),
    )


def callable_ones(of: Mesh, host: str) -> list[str]:
    return [e.address for _, some in of.services[host].endpoints for e in some if e.ready]


def test_where_nobody_says_anything_everybody_can_be_called() -> None:
    made = mesh()
    assert Readiness().served(made) is made


def test_who_is_not_named_is_not_called_and_who_is_not_ours_is() -> None:
    readiness, made = Readiness(), mesh()
    assert readiness.told([SECOND])
    found = readiness.served(made)
    assert callable_ones(found, "both.mesh") == [SECOND]
    assert callable_ones(found, "others.mesh") == [OTHER]


def test_what_stays_is_the_same_object() -> None:
    readiness, made = Readiness(), mesh()
    readiness.told([SECOND])
    first, second = readiness.served(made), readiness.served(made)
    assert first.services["both.mesh"] is second.services["both.mesh"]
    assert first.services["others.mesh"] is made.services["others.mesh"]
    assert not readiness.told([SECOND])
    assert readiness.told([FIRST, SECOND])
    assert readiness.served(made) is made


async def test_nodes_are_told_of_a_replica_once_it_is_said_to_be_ready(
    control_plane: Running,
) -> None:
    node_id = control_plane.node_id("caller")
    addresses = [
        instance["address"] for instance in control_plane.workloads()["echo-v1"]["instances"]
    ]

    def told() -> list[str]:
        body = messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")()
        held = node.held.get("ClusterLoadAssignment", {})
        body.ParseFromString(held.get(f"outbound|9090||{HOST}", b""))
        some = [each for locality in body.endpoints for each in locality.lb_endpoints]
        return [each.endpoint.address.socket_address.address for each in some]

    def is_told(ready: list[str]) -> bool:
        return told() == ready

    async with listening(control_plane, node_id, control_plane.token(node_id)) as node:
        await node.until(functools.partial(is_told, addresses))
        for ready in ([addresses[1]], [], addresses):
            answer = control_plane.steer("PUT", "/v1/ready", json={"addresses": ready})
            assert answer.status_code == 200
            await node.until(functools.partial(is_told, ready))
        assert control_plane.steer("GET", "/v1/pushed").json()["late"] == []


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"addresses": 7}'])
def test_what_is_no_list_of_addresses_is_refused(control_plane: Running, body: str) -> None:
    answer = control_plane.steer("PUT", "/v1/ready", content=body)
    assert answer.status_code == 400
    assert "addresses" in answer.text
