"""HTTP/1.1 for a handful of local callers: h11 reads and writes the bytes, asyncio moves them.

A handler gets a whole `Request` and gives a whole `Response`; `router` picks it. Who may call is
decided before by `meltemi.admin.guard`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

log = logging.getLogger("meltemi.admin")

MAX_BODY_BYTES = 8 << 20  # more than any mesh's documents; a larger body is refused, not buffered
MAX_HEADER_BYTES = 16 << 10
MAX_CONNECTIONS = 128  # of one server: people, scrapers and `meltemi` commands
IDLE_S = 75.0  # longer than common scrape intervals, so that a scraper keeps its connection
CHUNK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` by lower-case name; `query` keeps the last value of each name."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class HttpError(Exception):
    """Answered with `status` and `{error, hint}`."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


Handler = Callable[[Request], Awaitable[Response]]
PathHandler = Callable[..., Awaitable[Response]]


def text(body: str, status: int = 200) -> Response:
    return Response(body.encode(), status)


def as_json(value: object, status: int = 200) -> Response:
    body = json.dumps(value, indent=1, ensure_ascii=False).encode()
    return Response(body + b"\n", status, "application/json")


def router(routes: Sequence[tuple[str, str, PathHandler]]) -> Handler:
    """Picks by method and path; `{}` stands for one segment, given to the handler unquoted."""

    async def handle(request: Request) -> Response:
        allowed: list[str] = []
        for method, pattern, handler in routes:
            arguments = _match(pattern, request.path)
            if arguments is None:
                continue
            wanted = "GET" if request.method == "HEAD" else request.method
            if method == wanted:
                return await handler(request, *arguments)
            allowed.append(method)
        if allowed:
            names = ", ".join(sorted(set(allowed)))
            raise HttpError(405, f"{request.path} takes {names}, not {request.method}")
        raise HttpError(404, f"there is no {request.path} here")

    return handle


def _match(pattern: str, path: str) -> list[str] | None:
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    arguments = []
    for want, got in zip(wanted, given, strict=True):
        if want == "{}" and got:
            arguments.append(unquote(got))
        elif want != got:
            return None
    return arguments


class HttpServer:
    """Serves `handle` on sockets that are bound already."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        """Listens on `sock`, which the server owns from here on."""
        self._servers.append(
            await asyncio.start_server(self._accepted, sock=sock, limit=CHUNK_BYTES)
        )

    async def close(self) -> None:
        """Stops listening and ends every connection: a long poll must not hold the process."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= MAX_CONNECTIONS:
                await _Connection(reader, writer, self._handle).serve()
        except asyncio.CancelledError:
            pass  # the server closes: asyncio's stream callback would log a re-raised cancellation
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


class _Connection:
    """One connection: requests one after another, each answered before the next is read."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler
    ) -> None:
        self._reader, self._writer, self._handle = reader, writer, handle
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)

    async def serve(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            while await self._one():
                self._http.start_next_cycle()

    async def _one(self) -> bool:
        """Answers one request; whether the connection can carry another."""
        method = "GET"
        try:
            request = await self._read()
            if request is None:
                return False
            method = request.method
            response = await self._answer(request)
        except h11.RemoteProtocolError as error:
            response = _problem(HttpError(error.error_status_hint, str(error)))
        except HttpError as error:
            response = _problem(error)
        await self._send(response, method)
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return bool(done)

    async def _read(self) -> Request | None:
        """The next whole request; None when the caller is gone or stays silent."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._writer.write(self._http.send(go_on) or b"")
                async with asyncio.timeout(IDLE_S):
                    self._http.receive_data(await self._reader.read(CHUNK_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    limit = f"{MAX_BODY_BYTES >> 20} MiB"
                    raise HttpError(413, f"the body is larger than {limit}", "send less at once")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return _request(head, bytes(body))
            else:  # ConnectionClosed, PAUSED
                return None

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except HttpError as error:
            return _problem(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _problem(HttpError(500, "this request failed here", "the log says why"))

    async def _send(self, response: Response, method: str) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-cache, no-store"),
            ("x-content-type-options", "nosniff"),
            *response.headers,
        ]
        if self._http.their_state is not h11.DONE:
            headers.append(("connection", "close"))  # part of the request was not read
        out = self._http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if method != "HEAD":
            out += self._http.send(h11.Data(data=response.body)) or b""
        out += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(out)
        async with asyncio.timeout(IDLE_S):
            await self._writer.drain()


def _request(head: h11.Request, body: bytes) -> Request:
    try:
        target = urlsplit(head.target.decode("latin-1"))
    except ValueError as error:
        raise HttpError(400, "the request's target is no URL") from error
    names = [name for name, _ in head.headers]
    if names.count(b"host") > 1:
        raise HttpError(400, "more than one Host header")
    return Request(
        method=head.method.decode("latin-1"),
        path=target.path or "/",
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )


def _problem(error: HttpError) -> Response:
    return as_json({"error": error.message, "hint": error.hint}, error.status)
