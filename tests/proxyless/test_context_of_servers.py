"""Servers serve a request in the context that it came with, and forget it afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import httpx
from meltemi.proxyless import grpc_server, http_server
from meltemi.proxyless.context import outgoing
from opentelemetry.baggage import get_all

HEADERS = {"baggage": "env=dev;ttl=3", "rpc-persist-user": "ann"}


def seen() -> bytes:
    return f"{dict(get_all())} {dict(outgoing().persistent).get('USER')}".encode()


SEEN = b"{'env': 'dev'} ann"
NOTHING = b"{} None"


async def test_an_asgi_application_has_the_context_of_its_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": seen()})

    transport = httpx.ASGITransport(http_server.asgi(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://books") as client:
        assert (await client.get("/", headers=HEADERS)).content == SEEN
        assert (await client.get("/")).content == NOTHING
    assert seen() == NOTHING


async def test_what_is_no_request_passes_asgi() -> None:
    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    await http_server.asgi(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert passed == ["lifespan"]


def test_a_wsgi_application_has_the_context_of_its_request() -> None:
    def whole(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [seen()]

    def parts(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield seen()[:5]
        yield seen()[5:]

    for app in (whole, parts):
        transport = httpx.WSGITransport(http_server.wsgi(app))
        with httpx.Client(transport=transport, base_url="http://books") as client:
            assert client.get("/", headers=HEADERS).content == SEEN
            assert client.get("/").content == NOTHING
    assert seen() == NOTHING


def one(request: bytes, context: Any) -> bytes:
    return seen()


def many(request: bytes, context: Any) -> Iterator[bytes]:
    yield seen()
    yield seen()


def total(requests: Iterator[bytes], context: Any) -> bytes:
    return b"".join(requests) + seen()


def talk(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        yield request + seen()


def handlers(one: Any, many: Any, total: Any, talk: Any) -> grpc.GenericRpcHandler:
    methods = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Sum": grpc.stream_unary_rpc_method_handler(total),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    return grpc.method_handlers_generic_handler("shop.Books", methods)


def call_all(port: int) -> None:
    metadata = list(HEADERS.items())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for sent, expected in ((metadata, SEEN), (None, NOTHING)):
            assert channel.unary_unary("/shop.Books/One")(b"", metadata=sent) == expected
            found = list(channel.unary_stream("/shop.Books/Many")(b"", metadata=sent))
            assert found == [expected] * 2
            requests = [b"a", b"b"]
            summed = channel.stream_unary("/shop.Books/Sum")(iter(requests), metadata=sent)
            assert summed == b"ab" + expected
            talked = channel.stream_stream("/shop.Books/Talk")(iter(requests), metadata=sent)
            assert list(talked) == [b"a" + expected, b"b" + expected]


def test_a_grpc_server_has_the_context_of_its_call(free_port: Callable[[], int]) -> None:
    port = free_port()
    pool = ThreadPoolExecutor(1)  # one thread: what one call left behind the next would see
    server = grpc.server(pool, interceptors=[grpc_server.interceptor()])
    server.add_generic_rpc_handlers((handlers(one, many, total, talk),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        call_all(port)
        assert pool.submit(seen).result() == NOTHING
    finally:
        server.stop(0).wait()


async def test_a_grpc_server_of_asyncio_has_the_context_of_its_call(
    free_port: Callable[[], int],
) -> None:
    async def one_later(request: bytes, context: Any) -> bytes:
        return seen()

    async def many_later(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield seen()
        yield seen()

    async def total_later(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([each async for each in requests]) + seen()

    async def talk_by_writing(requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await context.write(request + seen())

    port = free_port()
    server = grpc.aio.server(interceptors=[grpc_server.aio_interceptor()])
    served = handlers(one_later, many_later, total_later, talk_by_writing)
    server.add_generic_rpc_handlers((served,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        import asyncio

        await asyncio.to_thread(call_all, port)
    finally:
        await server.stop(0)


async def test_plain_functions_of_a_grpc_server_of_asyncio_have_it_too(
    free_port: Callable[[], int],
) -> None:
    import asyncio

    port = free_port()
    server = grpc.aio.server(
        migration_thread_pool=ThreadPoolExecutor(2), interceptors=[grpc_server.aio_interceptor()]
    )
    server.add_generic_rpc_handlers((handlers(one, many, total, talk),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        await asyncio.to_thread(call_all, port)
    finally:
        await server.stop(0)
