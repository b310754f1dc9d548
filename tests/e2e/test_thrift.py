"""Two independent Thrift libraries, in every transport and protocol that both ends know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import apache
import hello_mesh
import pytest
import thriftpy2_hello
from hello_mesh import answered_by, route, router
from mesh import Mesh, eventually
from thriftpy2.thrift import TApplicationException

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


def address(mesh: Mesh, port_name: str) -> tuple[str, int]:
    """Where the client's sidecar listens for a variant of the service."""
    environment = mesh.environment(hello_mesh.CLIENT)
    return environment["HELLO_SERVER_SERVICE_HOST"], hello_mesh.THRIFT_PORTS[port_name]


@pytest.mark.parametrize("port_name", hello_mesh.THRIFT_PORTS)
def test_a_call_is_answered_in_every_transport_and_protocol(
    hello: Mesh, port_name: str, connect: Connect
) -> None:
    """Each server variant is called by each library that knows the variant."""
    variant = port_name.split("-", 1)[1]
    host, port = address(hello, port_name)
    clients: list[Any] = [connect(variant, host, port)]
    if variant in thriftpy2_hello.VARIANTS:
        clients.append(thriftpy2_hello.client(variant, host, port))
    for client in clients:
        replies = [client.sayHello(f"n{i}") for i in range(6)]
        assert all(r.startswith(f"Hello n{i}, ") for i, r in enumerate(replies))
        assert Counter(answered_by(r) for r in replies) == {"v1": 3, "v2": 3}
        client.close()


@pytest.mark.parametrize("variant", thriftpy2_hello.VARIANTS)
async def test_an_async_client_is_answered(hello: Mesh, variant: str) -> None:
    host, port = address(hello, f"thriftpy2-{variant}")
    client = await thriftpy2_hello.async_client(variant, host, port)
    replies = [await client.sayHello(f"n{i}") for i in range(6)]
    assert all(r.startswith(f"Hello n{i}, ") for i, r in enumerate(replies))
    assert {answered_by(r) for r in replies} == {"v1", "v2"}
    client.close()


async def test_many_async_clients_get_each_their_own_answers(hello: Mesh) -> None:
    host, port = address(hello, "apache-framed-binary")

    async def calls(client_number: int) -> None:
        client = await thriftpy2_hello.async_client("framed-binary", host, port)
        for i in range(20):
            reply = await client.sayHello(f"{client_number}/{i}")
            assert reply.startswith(f"Hello {client_number}/{i}, ")
        client.close()

    await asyncio.gather(*(calls(number) for number in range(20)))


def test_thriftpy2_reads_our_own_answers_too(clean: Mesh) -> None:
    clean.apply(router(route("lost", {"v3": 100})))
    for variant in thriftpy2_hello.VARIANTS:
        client = thriftpy2_hello.client(variant, *address(clean, f"thriftpy2-{variant}"))

        def refused(client: Any = client) -> bool:
            try:
                client.sayHello("a")
            except TApplicationException as error:
                return "v3" in error.message
            return False

        eventually(refused)
        client.close()


def test_an_upstream_connection_that_its_server_closed_is_not_used(
    hello: Mesh, connect: Connect
) -> None:
    """thriftpy2's servers close a connection that was idle for 3 s."""
    client = connect("framed-binary", *address(hello, "thriftpy2-framed-binary"))
    for pause_s in (0, 3.2):
        time.sleep(pause_s)
        for _ in range(4):
            assert client.sayHello("a").startswith("Hello a, ")
    client.close()
