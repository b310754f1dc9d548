"""Two independent Thrift libraries, in every transport and protocol that both ends know."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apache
import pytest
import thrift_mesh
import thriftpy2_hello
from mesh import Mesh, eventually
from thrift.Thrift import TApplicationException
from thrift_mesh import route, router

Connect = Callable[[str, str, int], apache.Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of Apache's library, and closes them at the end."""
    opened: list[apache.Client] = []

    def one(variant: str, host: str, port: int) -> apache.Client:
        opened.append(apache.Client(variant, host, port))
        return opened[-1]

    yield one
    for client in opened:
        client.close()


def address(mesh: Mesh, port: int = 9090) -> tuple[str, int]:
    """Where the client's sidecar listens for the service."""
    environment = mesh.environment(thrift_mesh.CLIENT)
    return environment["HELLO_SERVER_SERVICE_HOST"], port


def version(reply: str) -> str:
    return reply.rsplit("hello-server-", 1)[1].partition("-")[0]


@pytest.mark.parametrize("port_name", thrift_mesh.PORTS)
def test_a_call_is_answered_in_every_transport_and_protocol(
    hello: Mesh, port_name: str, connect: Connect
) -> None:
    """Each server variant is called by each library that knows the variant."""
    variant = port_name.split("-", 1)[1]
    host, port = address(hello, thrift_mesh.PORTS[port_name])
    clients: list[Any] = [connect(variant, host, port)]
    if variant in thriftpy2_hello.VARIANTS:
        clients.append(thriftpy2_hello.client(variant, host, port))
    for client in clients:
        replies = [client.sayHello(f"n{i}") for i in range(6)]
        assert all(r.startswith(f"Hello n{i}, ") for i, r in enumerate(replies))
        assert Counter(version(r) for r in replies) == {"v1": 3, "v2": 3}
        client.close()


@pytest.mark.parametrize("variant", thriftpy2_hello.VARIANTS)
async def test_an_async_client_is_answered(hello: Mesh, variant: str) -> None:
    host, port = address(hello, thrift_mesh.PORTS[f"thriftpy2-{variant}"])
    client = await thriftpy2_hello.async_client(variant, host, port)
    replies = [await client.sayHello(f"n{i}") for i in range(6)]
    assert all(r.startswith(f"Hello n{i}, ") for i, r in enumerate(replies))
    assert {version(r) for r in replies} == {"v1", "v2"}
    client.close()


async def test_many_async_clients_get_each_their_own_answers(hello: Mesh) -> None:
    host, port = address(hello, thrift_mesh.PORTS["apache-framed-binary"])

    async def calls(client_number: int) -> None:
        client = await thriftpy2_hello.async_client("framed-binary", host, port)
        for i in range(20):
            reply = await client.sayHello(f"{client_number}/{i}")
            assert reply.startswith(f"Hello {client_number}/{i}, ")
        client.close()

    await asyncio.gather(*(calls(number) for number in range(20)))


def test_a_declared_exception_is_a_reply(hello: Mesh, connect: Connect) -> None:
    host, port = address(hello)
    client = connect("framed-binary", host, port)
    with pytest.raises(apache.Refused, match="not you"):
        client.sayHello("refused")
    assert client.sayHello("a").startswith("Hello a, ")


def test_a_servers_own_exception_message_comes_through(hello: Mesh, connect: Connect) -> None:
    host, port = address(hello)
    client = connect("framed-binary", host, port)
    with pytest.raises(TApplicationException) as raised:
        client.call("noSuchMethod", apache.string_field(1, "x"))
    assert raised.value.type == TApplicationException.UNKNOWN_METHOD
    assert client.sayHello("a").startswith("Hello a, ")


def test_oneway_calls_arrive_and_the_connection_goes_on(hello: Mesh, connect: Connect) -> None:
    host, port = address(hello)
    client = connect("framed-binary", host, port)
    mark = f"note-{time.monotonic_ns()}"
    for i in range(4):
        client.note(f"{mark}-{i}")
        assert client.sayHello("a").startswith("Hello a, ")
    notes = hello.directory.parent / "notes"
    eventually(lambda: notes.read_text().count(mark) == 4)
    client.close()


def test_a_rule_moves_the_next_requests_of_an_open_connection(
    clean: Mesh, connect: Connect
) -> None:
    client = connect("unframed-binary", *address(clean, 9092))
    assert {version(client.sayHello("a")) for _ in range(4)} == {"v1", "v2"}
    for wanted in ("v1", "v2", "v1"):
        clean.apply(router(route(wanted, {wanted: 100}, {"method": {"exact": "sayHello"}})))
        eventually(partial(_only, client, wanted))
        assert {version(client.sayHello("a")) for _ in range(50)} == {wanted}
    client.close()


def test_a_split_is_kept_within_one_percent(clean: Mesh, connect: Connect) -> None:
    clean.apply(router(route("split", {"v1": 20, "v2": 80})))
    client = connect("framed-binary", *address(clean))
    eventually(lambda: version(client.sayHello("a")) == "v2" == version(client.sayHello("a")))
    found = Counter(version(client.sayHello("a")) for _ in range(1000))
    assert abs(found["v1"] - 200) <= 10, found


def test_a_subset_that_does_not_exist_is_named_in_the_answer(clean: Mesh, connect: Connect) -> None:
    clean.apply(router(route("lost", {"v3": 100})))
    client = connect("framed-binary", *address(clean))
    eventually(lambda: _problem(client) is not None)
    problem = _problem(client)
    assert problem is not None and "v3" in problem and thrift_mesh.HOST in problem


def test_a_subset_without_endpoints_is_named_in_the_answer(clean: Mesh, connect: Connect) -> None:
    clean.apply(router(route("empty", {"v9": 100})))
    client = connect("framed-binary", *address(clean))
    eventually(lambda: _problem(client) is not None)
    problem = _problem(client)
    assert problem is not None and "v9" in problem and "healthy" in problem


def test_without_a_matching_route_the_caller_is_told(clean: Mesh, connect: Connect) -> None:
    rule = route("other", {"v1": 100}, {"method": {"exact": "other"}})
    clean.apply(router(rule))
    client = connect("framed-compact", *address(clean, 9091))
    eventually(lambda: _problem(client) is not None)
    problem = _problem(client)
    assert problem is not None and "route" in problem


def test_thriftpy2_reads_our_own_answers_too(clean: Mesh) -> None:
    from thriftpy2.thrift import TApplicationException as Thriftpy2Exception

    clean.apply(router(route("lost", {"v3": 100})))
    for variant in thriftpy2_hello.VARIANTS:
        port = thrift_mesh.PORTS[f"thriftpy2-{variant}"]
        client = thriftpy2_hello.client(variant, *address(clean, port))

        def refused(client: Any = client) -> bool:
            try:
                client.sayHello("a")
            except Thriftpy2Exception as error:
                return "v3" in error.message
            return False

        eventually(refused)
        client.close()


def test_a_slow_call_does_not_hold_up_other_connections(hello: Mesh, connect: Connect) -> None:
    slow = connect("framed-binary", *address(hello))
    fast = connect("framed-binary", *address(hello))
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(slow.wait("slow", 1500)))
    waiting.start()
    began = time.monotonic()
    for i in range(20):
        assert fast.sayHello(str(i)).startswith(f"Hello {i}, ")
    assert time.monotonic() - began < 1.0
    waiting.join()
    assert answers[0].startswith("Hello slow, ")


def test_an_upstream_connection_that_its_server_closed_is_not_used(
    hello: Mesh, connect: Connect
) -> None:
    """thriftpy2's servers close a connection that was idle for 3 s."""
    client = connect("framed-binary", *address(hello, 9095))
    for _ in range(3):
        for _ in range(4):
            assert client.sayHello("a").startswith("Hello a, ")
        time.sleep(3.2)
    client.close()


def test_metrics_name_both_sides(hello: Mesh, connect: Connect) -> None:
    client = connect("framed-binary", *address(hello))
    for _ in range(4):
        client.sayHello("a")
    # The sidecar of the server sees its callers by address: this test calls from no workload of
    # the mesh, but through the client's sidecar, which does.
    server = hello.workloads()["hello-server-v1.hello"]["instances"][0]["address"]
    page = _metrics(server)
    both = [
        line
        for line in page.splitlines()
        if line.startswith("istio_requests_total{") and 'reporter="destination"' in line
    ]
    assert any(
        'source_workload="hello-client"' in line
        and 'source_version="v7"' in line
        and 'destination_workload="hello-server-v1"' in line
        and 'destination_version="v1"' in line
        for line in both
    ), page
    source = hello.workloads()[thrift_mesh.CLIENT]["instances"][0]["address"]
    assert any(
        line.startswith("istio_requests_total{")
        and 'reporter="source"' in line
        and 'source_workload="hello-client"' in line
        and 'destination_workload="hello-server-v2"' in line
        and f'destination_service="{thrift_mesh.HOST}"' in line
        for line in _metrics(source).splitlines()
    )


def _metrics(address: str) -> str:
    import httpx

    return httpx.get(f"http://{address}:15000/stats/prometheus", timeout=5).text


def _only(client: apache.Client, wanted: str) -> bool:
    return {version(client.sayHello("a")) for _ in range(2)} == {wanted}


def _problem(client: apache.Client) -> str | None:
    try:
        client.sayHello("a")
    except TApplicationException as error:
        return str(error.message)
    return None
