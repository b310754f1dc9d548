"""What a mesh finds when it asks as a sidecar would: the name table, and listeners by address."""

from __future__ import annotations

import pytest
from meltemi.proxyless import NotReadyError
from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE
from meltemi.xds.resource import Resource
from mesh_fixtures import Connect, Serve, until
from scripted_server import cluster, endpoints, route, socket_listener

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
PATH = "/demo.Greeter/Hello"
ECHO = "echo.default.svc.cluster.local"


def name_table(**addresses: str) -> Resource:
    """Of hosts, with `__` for their dots."""
    made = messages.message_of(NAME_TABLE)()
    for host, address in addresses.items():
        made.table[host.replace("__", ".")].ips.append(address)
    return messages.resource("", made)


@both
@pytest.mark.parametrize("text", ["echo:9090", "echo.default:9090", "Echo.default.svc:9090", ECHO])
def test_a_listener_is_found_by_the_address_of_its_host(
    serve: Serve, connect: Connect, delta: bool, text: str
) -> None:
    server = serve()
    server.put(NAME_TABLE, name_table(echo__default__svc__cluster__local="10.0.0.7"))
    for port in (80, 9090):
        name = f"{ECHO}:{port}"
        server.put(LISTENER, socket_listener(f"10.0.0.7_{port}", name))
        server.put(ROUTE, route(name, "c"))
    server.put(CLUSTER, cluster("c"))
    server.put(ENDPOINT, endpoints("c", "127.0.0.1:7001"))
    mesh = connect(server.address, mode="sidecar", delta=delta)
    assert mesh.call(mesh.target(text), PATH).address == "127.0.0.1:7001"
    (node,) = server.nodes
    assert "GENERATOR" not in node.metadata
    assert "MELTEMI_CLIENT" not in node.metadata


@both
def test_hosts_that_share_a_port_are_told_apart_by_their_names(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    """Reference 6.6 and 6.7: Kitex takes the first virtual host, whatever it is for."""
    server = serve()
    server.put(NAME_TABLE, name_table(a__default__svc__cluster__local="10.0.0.7"))
    server.put(LISTENER, socket_listener("0.0.0.0_9090", "9090"))
    made = messages.message_of(ROUTE)(name="9090")
    for host in ("a", "b"):
        names = [host, f"{host}:9090", f"{host}.default.svc.cluster.local"]
        added = made.virtual_hosts.add(name=host, domains=names).routes.add()
        added.match.prefix = "/"
        added.route.cluster = host
        server.put(CLUSTER, cluster(host))
        server.put(ENDPOINT, endpoints(host, f"127.0.0.1:{7000 + ord(host)}"))
    server.put(ROUTE, messages.resource("9090", made))
    mesh = connect(server.address, mode="sidecar", delta=delta)
    for host in ("a", "b"):
        call = mesh.call(mesh.target(f"{host}:9090"), PATH)
        assert call.address == f"127.0.0.1:{7000 + ord(host)}", "b has no address of its own"


@both
def test_a_host_that_gets_another_address_is_found_again(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    server.put(NAME_TABLE, name_table(echo__default__svc__cluster__local="10.0.0.7"))
    for address, name in (("10.0.0.7", "c"), ("10.0.0.8", "d")):
        server.put(LISTENER, socket_listener(f"{address}_9090", name))
        server.put(ROUTE, route(name, name))
        server.put(CLUSTER, cluster(name))
        server.put(ENDPOINT, endpoints(name, f"127.0.0.1:{7000 + ord(name)}"))
    mesh = connect(server.address, mode="sidecar", delta=delta)
    target = mesh.target("echo:9090")
    assert mesh.call(target, PATH).cluster == "c"
    server.put(NAME_TABLE, name_table(echo__default__svc__cluster__local="10.0.0.8"))
    until(lambda: mesh.call(target, PATH).cluster == "d")


@both
def test_a_host_with_a_listener_of_its_own_does_not_take_the_shared_one(
    serve: Serve, connect: Connect, delta: bool
) -> None:
    server = serve()
    hosts = {f"{name}__default__svc__cluster__local": f"10.0.0.{name}" for name in "78"}
    server.put(NAME_TABLE, name_table(**hosts))
    for listener, name in (("0.0.0.0_9090", "shared"), ("10.0.0.8_9090", "own")):
        server.put(LISTENER, socket_listener(listener, name))
        server.put(ROUTE, route(name, name))
        server.put(CLUSTER, cluster(name))
        server.put(ENDPOINT, endpoints(name, f"127.0.0.1:{7000 + len(name)}"))
    mesh = connect(server.address, mode="sidecar", delta=delta)
    assert mesh.call(mesh.target("7:9090"), PATH).cluster == "shared"
    assert mesh.call(mesh.target("8:9090"), PATH).cluster == "own"


@both
def test_a_host_without_a_listener_is_named(serve: Serve, connect: Connect, delta: bool) -> None:
    server = serve()
    server.put(NAME_TABLE, name_table(a__default__svc__cluster__local="10.0.0.7"))
    mesh = connect(server.address, mode="sidecar", delta=delta, ready_timeout_s=0.5)
    with pytest.raises(NotReadyError, match="cannot call nobody:9090: Listener 'nobody:9090'"):
        mesh.call(mesh.target("nobody:9090"), PATH)
