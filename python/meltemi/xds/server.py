"""The gRPC shell around the server's state machines: ADS and the single-type services.

`controlplane` owns one AdsServer, gives it a source, and calls `changed` after a new mesh. Messages
travel as raw bytes, so a resource is serialized once for all nodes that get it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from meltemi.xds import discovery, messages
from meltemi.xds.differences import Differences
from meltemi.xds.resource import RESOURCE_IN_SOTW, Client, Node, Resource
from meltemi.xds.server_delta import DeltaSubscription
from meltemi.xds.server_sotw import SotwSubscription
from meltemi.xds.server_state import LimitError, Limits, Stream, TypeStatus

log = logging.getLogger("meltemi.xds.server")

FIRST_REQUEST_S: Final = 15.0
"""A stream that says nothing for so long is closed: it holds one of the places that are limited."""

SERVICES: Final = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", None),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("Listeners", messages.LISTENER),
    "envoy.service.route.v3.RouteDiscoveryService": ("Routes", messages.ROUTE),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("Clusters", messages.CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("Endpoints", messages.ENDPOINT),
}
"""Service -> what its methods `Stream…` and `Delta…` end with, and its one type (None: any)."""


CLIENT_PING_S: Final = 5.0
"""Clients that send keepalive pings no more often than this are left alone, on idle streams too.
gRPC's own default is 300 s, and a client that pings more often loses its connection."""


class Source(Protocol):
    """What nodes get."""

    def resources(self, node: Node, type_url: str) -> Mapping[str, Resource]:
        """All that the node may have of the type, by name. Called often, so it should be memoized;
        a mapping that was returned must not change, and the same object means no change."""


Authenticate = Callable[[str, Mapping[str, str], str], "str | None"]
"""(node id, gRPC metadata, peer) -> None, or a sentence that says why the node is refused."""


def anybody(node_id: str, metadata: Mapping[str, str], peer: str) -> str | None:
    """Refuses nobody."""
    del node_id, metadata, peer
    return None


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all nodes together, one node, and one stream may take."""

    streams: int = 4096
    streams_per_node: int = 512
    """The children of a pre-forking server have a stream each, and one id."""
    request_bytes: int = 4 * 1024 * 1024
    stream: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One connected node, over all its streams."""

    node: Node
    peer: str
    """Where its first stream comes from, as gRPC writes it: `ipv4:127.0.0.1:4711`."""
    connected_since: float
    """Of its first stream; seconds since the epoch."""
    streams: int
    types: Mapping[str, TypeStatus]
    """By type URL; where two streams have one type, the newer's."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One stream: its state and the coroutines around it."""

    stream: Stream[Any]
    peer: str
    since: float
    wake: asyncio.Event
    node: Node | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What came with the stream; its token is proof of the node's id."""
    failed: str | None = None
    """Why the reader ended the stream."""
    code: grpc.StatusCode = grpc.StatusCode.OK
    ended: bool = False


class _RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Variant:
    """What differs between state of the world and delta."""

    prefix: str
    """Of the method's name."""
    label: str
    subscription: Callable[[str, Limits, Differences, Node | None], Any]
    decode: Callable[[bytes], tuple[Any, Any]]
    encode: Callable[[discovery.Response, Node], bytes]


def _is_kitex(node: Node | None) -> bool:
    """Kitex asks for listeners by the names of services, and looks for them by addresses; it asks
    for more with the nonce that it had when it began to ask."""
    return node is not None and node.client is Client.KITEX


_SOTW: Final = _Variant(
    "Stream",
    "state of the world",
    lambda type_url, limits, _differences, node: SotwSubscription(
        type_url,
        limits,
        all_there_is=type_url == messages.LISTENER and _is_kitex(node),
        late_names=_is_kitex(node),
    ),
    discovery.decode_sotw_request,
    lambda response, node: discovery.encode_sotw_response(
        response, wrapped=RESOURCE_IN_SOTW in node.features
    ),
)
_DELTA: Final = _Variant(
    "Delta",
    "delta",
    lambda type_url, limits, differences, _node: DeltaSubscription(type_url, limits, differences),
    discovery.decode_delta_request,
    lambda response, _node: discovery.encode_delta_response(response),
)


class AdsServer:
    """Serves a source's resources to nodes. All methods are for the event loop's thread, except
    `changed`."""

    def __init__(
        self,
        source: Source,
        authenticate: Authenticate = anybody,
        limits: ServerLimits | None = None,
    ) -> None:
        self._source = source
        self._authenticate = authenticate
        self._limits = limits or ServerLimits()
        self._connections: dict[_Connection, None] = {}
        self._differences = Differences()
        self._ordinals = itertools.count(1)
        self._server: grpc.aio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(
        self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Listens; returns the port. Whether an address other than loopback is right is the
        caller's decision. Raises OSError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=self._options())
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {address}: the address is in use or not ours") from exc
        if port == 0:
            raise OSError(f"cannot listen on {address}: the address is in use or not ours")
        await server.start()
        self._server = server
        log.info("serving xDS on %s (port %d)", address, port)
        return int(port)

    async def stop(self, grace_s: float = 0.5) -> None:
        """Ends the streams, which lets their nodes reconnect elsewhere, and stops listening."""
        server, self._server = self._server, None
        if server is None:
            return
        for connection in self._connections:
            connection.ended = True
            connection.wake.set()
        await server.stop(grace_s)

    def changed(self) -> None:
        """The source has something new: every stream sends what its node lacks. Any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for connection in self._connections:
            if connection.node is not None:
                connection.wake.set()

    def nodes(self) -> list[NodeStatus]:
        """The nodes that are connected, by id."""
        found: dict[str, NodeStatus] = {}
        for connection in self._connections:
            if connection.node is None:
                continue
            now = NodeStatus(
                node=connection.node,
                peer=connection.peer,
                connected_since=connection.since,
                streams=1,
                types=connection.stream.status(),
            )
            if (former := found.get(now.node.id)) is not None:
                now = dataclasses.replace(
                    former, streams=former.streams + 1, types={**former.types, **now.types}
                )
            found[now.node.id] = now
        return [found[node_id] for node_id in sorted(found)]

    def _options(self) -> Sequence[tuple[str, int]]:
        return (
            ("grpc.so_reuseport", 0),  # two servers on one port must not both succeed
            ("grpc.max_receive_message_length", self._limits.request_bytes),
            ("grpc.max_send_message_length", -1),
            # A node that vanished without a word is noticed within a minute.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            # Clients' own keepalive, Envoy's and gRPC's included, is no abuse.
            ("grpc.http2.min_ping_interval_without_data_ms", round(CLIENT_PING_S * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
        )

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    variant.prefix + noun: grpc.stream_stream_rpc_method_handler(
                        functools.partial(self._serve, variant, only)
                    )
                    for variant in (_SOTW, _DELTA)
                },
            )
            for service, (noun, only) in SERVICES.items()
        ]

    async def _serve(
        self,
        variant: _Variant,
        only: str | None,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        """One stream, from its first request to its end."""
        if len(self._connections) >= self._limits.streams:
            reason = f"this server serves at most {self._limits.streams} streams"
            log.warning("refused a stream from %s: %s", context.peer(), reason)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        connection = _Connection(
            stream=Stream(
                f"{next(self._ordinals)}-",
                lambda type_url: variant.subscription(
                    type_url, self._limits.stream, self._differences, connection.node
                ),
                self._limits.stream,
            ),
            peer=context.peer(),
            since=time.time(),
            wake=asyncio.Event(),
        )
        self._connections[connection] = None
        reader = asyncio.create_task(self._read(variant, only, requests, context, connection))
        try:
            await self._respond(variant, context, connection)
            if connection.failed is not None:
                await context.abort(connection.code, connection.failed)
        finally:
            del self._connections[connection]
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            if connection.node is not None:
                log.info("node %s: stream from %s ended", connection.node.id, connection.peer)

    async def _read(
        self,
        variant: _Variant,
        only: str | None,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
        connection: _Connection,
    ) -> None:
        """Takes the node's requests until it ends the stream or must be refused."""
        try:
            iterator = aiter(requests)
            first = await asyncio.wait_for(anext(iterator, None), FIRST_REQUEST_S)
            if first is not None:
                self._take_first(variant, only, first, context, connection)
                async for data in iterator:
                    request, _node = variant.decode(data)
                    self._take(request, only, connection)
        except TimeoutError:
            connection.code = grpc.StatusCode.DEADLINE_EXCEEDED
            connection.failed = f"no request came within {FIRST_REQUEST_S:g} s"
        except _RefusedError as exc:
            connection.code, connection.failed = exc.code, str(exc)
        except discovery.MalformedError as exc:
            connection.code = grpc.StatusCode.INVALID_ARGUMENT
            connection.failed = str(exc)
        except LimitError as exc:
            connection.code = grpc.StatusCode.RESOURCE_EXHAUSTED
            connection.failed = str(exc)
        except grpc.aio.AioRpcError as exc:
            log.debug("stream from %s: %s", connection.peer, exc.details())
        finally:
            if connection.failed is not None:
                log.warning("refused a stream from %s: %s", connection.peer, connection.failed)
            connection.ended = True
            connection.wake.set()

    def _take_first(
        self,
        variant: _Variant,
        only: str | None,
        data: bytes,
        context: grpc.aio.ServicerContext[bytes, bytes],
        connection: _Connection,
    ) -> None:
        """The first request says who the node is; what later ones say of it does not matter."""
        request, message = variant.decode(data)
        if message is None or not message.id:
            reason = "the first request of a stream must carry a node with an id"
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, reason)
        if len(message.id) > self._limits.stream.name_bytes or not message.id.isprintable():
            longest = self._limits.stream.name_bytes
            reason = f"a node's id has at most {longest} characters, all of them printable"
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, reason)
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        reason_or_none = self._authenticate(message.id, metadata, connection.peer)
        if reason_or_none is not None:
            known = "authorization" in metadata
            code = grpc.StatusCode.PERMISSION_DENIED if known else grpc.StatusCode.UNAUTHENTICATED
            raise _RefusedError(code, reason_or_none)
        node = Node.parse(message)
        others = sum(
            other.node is not None and other.node.id == node.id for other in self._connections
        )
        if others >= self._limits.streams_per_node:
            reason = f"node {node.id} has {others} streams, which is as many as one may have"
            raise _RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        connection.node, connection.metadata = node, metadata
        log.info("node %s: new stream (%s) from %s", node.id, variant.label, connection.peer)
        self._take(request, only, connection)

    def _take(self, request: Any, only: str | None, connection: _Connection) -> None:
        if only is not None and request.type_url != only:
            if request.type_url:
                reason = f"this stream serves {only}, not {request.type_url}"
                raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, reason)
            request = dataclasses.replace(request, type_url=only)
        if not request.type_url:
            reason = "a request on an aggregated stream must say its type_url"
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, reason)
        if request.error is not None:
            node = connection.node.id if connection.node else ""
            log.warning("node %s refused %r: %r", node, request.type_url, request.error)
        connection.stream.receive(request)
        connection.wake.set()

    async def _respond(
        self,
        variant: _Variant,
        context: grpc.aio.ServicerContext[bytes, bytes],
        connection: _Connection,
    ) -> None:
        """Sends what the node lacks; what comes next is decided when the former is out."""
        loop = asyncio.get_running_loop()
        await connection.wake.wait()
        if connection.node is not None:
            await context.send_initial_metadata(((discovery.WELCOME, "meltemi"),))
        while not connection.ended:
            connection.wake.clear()
            response, wake_at = self._next(connection, loop.time())
            if response is not None and connection.node is not None:
                await context.write(variant.encode(response, connection.node))
                continue
            timer = None if wake_at is None else loop.call_at(wake_at, connection.wake.set)
            try:
                await connection.wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _next(
        self, connection: _Connection, now: float
    ) -> tuple[discovery.Response | None, float | None]:
        node = connection.node
        if node is None or self._refused_now(connection, node):
            return None, None
        try:
            return connection.stream.next(
                lambda type_url: self._source.resources(node, type_url), now
            )
        except Exception:
            # The node keeps what it has, and the others are served; the next change tries again.
            log.exception("cannot build the resources of node %s", node.id)
            return None, None

    def _refused_now(self, connection: _Connection, node: Node) -> bool:
        """Judges again before each response: an id that was nobody's when the stream began may be a
        workload's by now, and then needs its proof."""
        reason = self._authenticate(node.id, connection.metadata, connection.peer)
        if reason is None:
            return False
        log.warning("ended a stream from %s: %s", connection.peer, reason)
        connection.code, connection.failed = grpc.StatusCode.PERMISSION_DENIED, reason
        connection.ended = True
        connection.wake.set()
        return True
