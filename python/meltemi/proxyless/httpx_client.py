"""httpx over a mesh: transports that ask the route and the endpoint of every request.

`mesh.httpx("http://details:9080")` makes a client with one; `mesh.httpx_transport()` gives the
transport alone, to be mounted in a client of one's own by host pattern. Connections are httpx's:
one pool for all endpoints, keyed by their addresses, with the Host header as the application wrote
it. `http_exchange` has what both transports do alike.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from weakref import WeakSet

import httpx

from meltemi.proxyless.errors import DirectResponseError, MeltemiError
from meltemi.proxyless.http_exchange import Exchange, target_text, unroutable
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.target import Target

# Servers close idle connections after some seconds (uvicorn 5), and a request that is sent at that
# moment is lost. The sidecar retires its own at the same age.
IDLE_S = 2.5
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=IDLE_S)

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; httpx would load a store of 150 roots

_all: WeakSet[MeshTransport | AsyncMeshTransport] = WeakSet()


class MeshTransport(httpx.BaseTransport):
    """Sends each request where the mesh's routes say; to be used by many threads at once.

    Raises httpx's errors: ConnectError where there is no route or endpoint or no connection to one
    (its cause says which), ReadTimeout where the route's or the caller's time is up.
    """

    def __init__(self, mesh: Mesh, limits: httpx.Limits = _LIMITS) -> None:
        self._mesh = mesh
        self._limits = limits
        self._targets: dict[str, Target] = {}
        self._connections = self._pool()
        _all.add(self)

    def _pool(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(
            verify=_NO_TLS, limits=self._limits, local_address=self._mesh.source_address
        )

    def in_child(self) -> None:
        """In a forked child: the parent's connections are not used."""
        self._connections = self._pool()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's own: the response's body is read later, by whoever reads the response."""
        target = _target(self._mesh, self._targets, request)
        exchange = Exchange(request, target)
        try:
            call = self._mesh.call(
                target, exchange.path, exchange.routing_headers, exchange.patience_s
            )
        except DirectResponseError as answer:
            return exchange.answered_by_route(answer.status, answer.body)
        except MeltemiError as error:
            raise unroutable(exchange, error) from error
        exchange.routed(call)
        try:
            return self._attempts(exchange)
        except BaseException as error:
            exchange.over(error)
            raise

    def _attempts(self, exchange: Exchange) -> httpx.Response:
        while True:
            try:
                response = self._connections.handle_request(exchange.attempt())
            except httpx.TransportError as error:
                wait_s = exchange.failed(error)
                if wait_s is None:
                    raise exchange.reported(error) from error
            else:
                wait_s = exchange.again(response.status_code)
                if wait_s is None:
                    return exchange.response(response, _Body(exchange, response))
                response.close()
            time.sleep(wait_s)

    def close(self) -> None:
        """Closes the connections."""
        self._connections.close()


class AsyncMeshTransport(httpx.AsyncBaseTransport):
    """`MeshTransport` for asyncio."""

    def __init__(self, mesh: Mesh, limits: httpx.Limits = _LIMITS) -> None:
        self._mesh = mesh
        self._limits = limits
        self._targets: dict[str, Target] = {}
        self._connections = self._pool()
        _all.add(self)

    def _pool(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=_NO_TLS, limits=self._limits, local_address=self._mesh.source_address
        )

    def in_child(self) -> None:
        """In a forked child: the parent's connections are not used."""
        self._connections = self._pool()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's own: the response's body is read later, by whoever reads the response."""
        target = _target(self._mesh, self._targets, request)
        exchange = Exchange(request, target)
        try:
            call = await self._mesh.call_async(
                target, exchange.path, exchange.routing_headers, exchange.patience_s
            )
        except DirectResponseError as answer:
            return exchange.answered_by_route(answer.status, answer.body)
        except MeltemiError as error:
            raise unroutable(exchange, error) from error
        exchange.routed(call)
        try:
            return await self._attempts(exchange)
        except BaseException as error:
            exchange.over(error)
            raise

    async def _attempts(self, exchange: Exchange) -> httpx.Response:
        while True:
            try:
                response = await self._connections.handle_async_request(exchange.attempt())
            except httpx.TransportError as error:
                wait_s = exchange.failed(error)
                if wait_s is None:
                    raise exchange.reported(error) from error
            else:
                wait_s = exchange.again(response.status_code)
                if wait_s is None:
                    return exchange.response(response, _AsyncBody(exchange, response))
                await response.aclose()
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._connections.aclose()


class _Body(httpx.SyncByteStream):
    """A response's body; the call is over when it is."""

    def __init__(self, exchange: Exchange, response: httpx.Response) -> None:
        self._exchange = exchange
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._response.stream, httpx.SyncByteStream)
        try:
            for part in self._response.stream:
                self._exchange.check_time()
                yield part
        except httpx.TransportError as error:
            raise self._exchange.broken(error) from error
        self._exchange.complete()

    def close(self) -> None:
        try:
            self._response.close()
        finally:
            self._exchange.complete()


class _AsyncBody(httpx.AsyncByteStream):
    """`_Body` for asyncio."""

    def __init__(self, exchange: Exchange, response: httpx.Response) -> None:
        self._exchange = exchange
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        try:
            async for part in self._response.stream:
                self._exchange.check_time()
                yield part
        except httpx.TransportError as error:
            raise self._exchange.broken(error) from error
        self._exchange.complete()

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            self._exchange.complete()


def client(mesh: Mesh, base_url: str, **options: Any) -> httpx.Client:
    """An `httpx.Client` for `base_url` over `mesh`; `options` are the client's own."""
    return httpx.Client(base_url=base_url, transport=MeshTransport(mesh), **options)


def async_client(mesh: Mesh, base_url: str, **options: Any) -> httpx.AsyncClient:
    """An `httpx.AsyncClient` for `base_url` over `mesh`; `options` are the client's own."""
    return httpx.AsyncClient(base_url=base_url, transport=AsyncMeshTransport(mesh), **options)


def _target(mesh: Mesh, known: dict[str, Target], request: httpx.Request) -> Target:
    text = target_text(request)
    found = known.get(text)
    if found is None:
        found = known[text] = mesh.target(text)
    return found


def _born() -> None:
    for each in list(_all):
        each.in_child()


os.register_at_fork(after_in_child=_born)
