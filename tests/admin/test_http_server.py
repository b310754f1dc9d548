"""The small HTTP server, through a real socket and an independent client (http.client)."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from meltemi.admin import http as admin_http
from meltemi.admin.guard import guarded
from meltemi.admin.http import (
    Handler,
    HttpError,
    HttpServer,
    Request,
    Response,
    as_json,
    router,
    text,
)
from meltemi.admin.sockets import bind


async def _echo(request: Request, *arguments: str) -> Response:
    return as_json(
        {
            "arguments": arguments,
            "query": dict(request.query),
            "body": request.body.decode(),
        }
    )


async def _breaks(_request: Request) -> Response:
    raise RuntimeError("a bug")


ROUTES = router(
    (
        ("GET", "/", _echo),
        ("GET", "/objects/{}/{}", _echo),
        ("POST", "/objects", _echo),
        ("DELETE", "/objects/{}/{}", _echo),
        ("GET", "/breaks", _breaks),
    )
)


class Served:
    """A server for one test, and one blocking call to it at a time."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(self, method: str, path: str, **call: Any) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._ask, method, path, call)

    def _ask(self, method: str, path: str, call: dict[str, Any]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, **call)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    async def raw(self, data: bytes) -> bytes:
        """Sends bytes, reads until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer


@pytest.fixture
async def serve(free_port: Callable[[], int]) -> Any:
    servers: list[HttpServer] = []

    async def start(handle: Handler) -> Served:
        port = free_port()
        server = HttpServer(handle)
        await server.start(bind(f"127.0.0.1:{port}"))
        servers.append(server)
        return Served(port)

    yield start
    for server in servers:
        await server.close()


async def test_path_segments_and_query_reach_the_handler_unquoted(serve: Any) -> None:
    served = await serve(ROUTES)
    status, body = await served.ask("GET", "/objects/a%2Fb/c?x=1%202&y=")
    assert status == 200
    assert json.loads(body)["arguments"] == ["a/b", "c"]
    assert json.loads(body)["query"] == {"x": "1 2", "y": ""}


async def test_a_body_reaches_the_handler_whole_however_it_is_framed(serve: Any) -> None:
    served = await serve(ROUTES)
    text_of_1_mb = "x" * (1 << 20)
    _, body = await served.ask("POST", "/objects", body=text_of_1_mb)
    assert json.loads(body)["body"] == text_of_1_mb
    _, body = await served.ask("POST", "/objects", body=iter([b"ab", b"cd"]), encode_chunked=True)
    assert json.loads(body)["body"] == "abcd"


async def test_a_method_that_a_path_does_not_take_is_405_and_names_those_it_takes(
    serve: Any,
) -> None:
    served = await serve(ROUTES)
    status, body = await served.ask("GET", "/objects")
    assert (status, json.loads(body)["error"]) == (405, "/objects takes POST, not GET")


async def test_an_unknown_path_is_404(serve: Any) -> None:
    served = await serve(ROUTES)
    for path in ("/nothing", "/objects/a", "/objects/a/b/c", "/objects//b"):
        assert (await served.ask("GET", path))[0] == 404, path


async def test_head_gets_the_headers_of_get_and_no_body(serve: Any) -> None:
    served = await serve(ROUTES)
    status, body = await served.ask("HEAD", "/")
    assert (status, body) == (200, b"")


async def test_a_handler_that_breaks_is_answered_with_500_and_no_traceback(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(ROUTES)
    status, body = await served.ask("GET", "/breaks")
    assert status == 500
    assert b"Traceback" not in body and b"a bug" not in body
    assert "a bug" in caplog.text


async def test_a_connection_carries_many_requests(serve: Any) -> None:
    served = await serve(ROUTES)

    def many() -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
        statuses = []
        connection.connect()
        first = connection.sock
        for _ in range(5):
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            assert connection.sock is first
        connection.close()
        return statuses

    assert await asyncio.to_thread(many) == [200] * 5


async def test_a_body_over_the_limit_is_413_and_not_buffered(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_http, "MAX_BODY_BYTES", 1 << 20)
    served = await serve(ROUTES)
    head = b"POST /objects HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n"
    answer = await served.raw(head + b"x" * ((1 << 20) + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_bytes_that_are_no_http_are_answered_with_400(serve: Any) -> None:
    served = await serve(ROUTES)
    assert (await served.raw(b"\x16\x03\x01\x02\x00\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_request_with_two_hosts_is_refused(serve: Any) -> None:
    served = await serve(ROUTES)
    answer = await served.raw(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_closing_the_server_ends_a_request_that_waits(free_port: Callable[[], int]) -> None:
    async def waits(_request: Request) -> Response:
        await asyncio.sleep(3600)
        return text("never")

    server, port = HttpServer(waits), free_port()
    await server.start(bind(f"127.0.0.1:{port}"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await asyncio.sleep(0.05)
    await asyncio.wait_for(server.close(), 2)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


async def test_connections_over_the_limit_are_closed_and_the_others_served(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_http, "MAX_CONNECTIONS", 2)
    served = await serve(ROUTES)
    held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    for _, other in held:
        other.close()
    await asyncio.sleep(0.05)
    assert (await served.ask("GET", "/"))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:15000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_web_page_of_another_site_is_refused(serve: Any, headers: dict[str, str]) -> None:
    served = await serve(guarded(ROUTES))
    for method, path in (("GET", "/"), ("POST", "/objects")):
        assert (await served.ask(method, path, headers=headers))[0] == 403


async def test_a_local_caller_is_served_by_address_and_as_localhost(serve: Any) -> None:
    served = await serve(guarded(ROUTES))
    port = served.port
    for headers in (
        {},
        {"Host": f"localhost:{port}"},
        {"Host": "localhost"},
        {"Host": f"[::1]:{port}"},
        {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert (await served.ask("GET", "/", headers=headers))[0] == 200, headers


def test_an_http_error_keeps_its_hint_apart() -> None:
    error = HttpError(409, "held by a file", "edit the file")
    assert (error.status, error.message, error.hint) == (409, "held by a file", "edit the file")


def test_a_taken_address_is_an_oserror(free_port: Callable[[], int]) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        with pytest.raises(OSError):
            bind(f"127.0.0.1:{port}")


async def test_a_target_that_is_no_url_is_400_and_no_fault_of_ours(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(ROUTES)
    status, body = await served.ask("GET", "//[")
    assert status == 400
    assert "no URL" in json.loads(body)["error"]
    assert not caplog.records
