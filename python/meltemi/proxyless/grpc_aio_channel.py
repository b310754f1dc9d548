"""`grpc.aio.Channel` over a mesh: `grpc_channel` for asyncio.

`mesh.grpc_aio("ratings.default:9080")` makes one, in the event loop that will use it. As with
grpcio's own, a process that has used one must not fork and go on with it in the child.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import grpc
import grpc.aio

from meltemi.proxyless.grpc_aio_calls import (
    Call,
    StreamStreamCall,
    StreamUnaryCall,
    UnaryStreamCall,
    UnaryUnaryCall,
)
from meltemi.proxyless.grpc_aio_replay import AioReplay
from meltemi.proxyless.grpc_aio_status import keep_status
from meltemi.proxyless.grpc_calls import Metadata, Rpc, channel_options
from meltemi.proxyless.grpc_endpoints import Endpoint, Endpoints
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.target import Target

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class AioMeshChannel(grpc.aio.Channel):  # type: ignore[misc]
    """See the module."""

    def __init__(
        self, mesh: Mesh, target: Target, options: Sequence[tuple[str, object]] | None = None
    ) -> None:
        self.mesh = mesh
        self.target = target
        self._options = channel_options(target.authority, options)
        self._closing: set[asyncio.Task[None]] = set()
        self.endpoints: Endpoints[Any] = Endpoints(
            self._connected, self._disconnect, closes_before_fork=False
        )
        self._closed = False
        self.calls: WeakSet[Call] = WeakSet()

    def _connected(self, address: str) -> Any:
        return grpc.aio.insecure_channel(address, self._options)

    def _disconnect(self, channel: Any) -> None:
        task = asyncio.ensure_future(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def route(self, rpc: Rpc) -> None:
        """Routes `rpc`. Raises what the mesh raises."""
        left_s = rpc.deadline.left_s()
        rpc.routed(await self.mesh.call_async(self.target, rpc.path, rpc.routing_headers, left_s))

    def check_open(self) -> None:
        """Raises UsageError where the channel was closed, as grpcio's own does."""
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable:
        return UnaryUnary(self, "unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable:
        return UnaryStream(self, "unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable:
        return StreamUnary(self, "stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable:
        return StreamStream(
            self, "stream_stream", method, request_serializer, response_deserializer
        )

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """READY until closed: each call finds its own endpoint; there is no one connection."""
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns once the state is another: a channel's only change is that it is closed."""
        while self.get_state() is last_observed_state:
            await asyncio.sleep(0.05)

    async def channel_ready(self) -> None:
        """Returns at once."""

    async def close(self, grace: float | None = None) -> None:
        """Ends the calls in flight, after `grace` seconds, and closes the connections."""
        self._closed = True
        calls = [call for call in self.calls if not call.done()]
        if calls and grace:
            waits = [asyncio.ensure_future(call.code()) for call in calls]
            await asyncio.wait(waits, timeout=grace)
        for call in calls:
            call.cancel()
        self.endpoints.close()
        await asyncio.gather(*self._closing)

    async def __aenter__(self) -> AioMeshChannel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def channel(
    mesh: Mesh, target: str, options: Sequence[tuple[str, object]] | None = None
) -> AioMeshChannel:
    """A channel to `target` (`ratings.default:9080`); `options` are grpcio's, for each endpoint."""
    return AioMeshChannel(mesh, mesh.target(target), options)


class _Method:
    """One method of a channel, as it was asked for."""

    _call: type[Call]

    def __init__(
        self,
        channel: AioMeshChannel,
        kind: str,
        path: str,
        serializer: Serializer,
        deserializer: Deserializer,
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._path = path
        self._serializer = serializer
        self._deserializer = deserializer
        self._callables: WeakKeyDictionary[Endpoint[Any], Any] = WeakKeyDictionary()

    def _at(self, endpoint: Endpoint[Any]) -> Any:
        found = self._callables.get(endpoint)
        if found is None:
            make = getattr(endpoint.channel, self._kind)
            found = make(self._path, self._serializer, self._deserializer)
            self._callables[endpoint] = found
        return found

    def _started(
        self,
        request: Any,
        replay: AioReplay | None,
        timeout: float | None,
        metadata: Metadata | None,
        credentials: Any,
        waits: bool | None,
        compression: Any,
    ) -> Any:
        self._channel.check_open()
        rpc = Rpc(self._channel.target, self._path, timeout, metadata, bool(waits))
        endpoints = self._channel.endpoints

        def begin() -> Any:
            address, sent, left_s = rpc.attempt()
            endpoint = endpoints.began(address)
            inner = self._at(endpoint)(
                request if replay is None else replay.requests(),
                timeout=left_s,
                metadata=grpc.aio.Metadata(*sent),
                credentials=credentials,
                compression=compression,
            )
            if replay is not None:
                keep_status(inner)
            inner.add_done_callback(lambda _: endpoints.over(endpoint))
            return inner

        call = self._call(rpc, self._channel.route, begin, replay)
        self._channel.calls.add(call)
        return call


class UnaryUnary(_Method, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """A method of one request and one response."""

    _call = UnaryUnaryCall

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryUnaryCall:
        call: UnaryUnaryCall = self._started(
            request, None, timeout, metadata, credentials, wait_for_ready, compression
        )
        return call


class UnaryStream(_Method, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[misc]
    """A method of one request and many responses."""

    _call = UnaryStreamCall

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryStreamCall:
        call: UnaryStreamCall = self._started(
            request, None, timeout, metadata, credentials, wait_for_ready, compression
        )
        return call


class StreamUnary(_Method, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[misc]
    """A method of many requests and one response."""

    _call = StreamUnaryCall

    def __call__(
        self,
        request_iterator: AsyncIterable[Any] | Iterable[Any] | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamUnaryCall:
        replay = AioReplay(request_iterator)
        call: StreamUnaryCall = self._started(
            None, replay, timeout, metadata, credentials, wait_for_ready, compression
        )
        return call


class StreamStream(_Method, grpc.aio.StreamStreamMultiCallable):  # type: ignore[misc]
    """A method of many requests and many responses."""

    _call = StreamStreamCall

    def __call__(
        self,
        request_iterator: AsyncIterable[Any] | Iterable[Any] | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamStreamCall:
        replay = AioReplay(request_iterator)
        call: StreamStreamCall = self._started(
            None, replay, timeout, metadata, credentials, wait_for_ready, compression
        )
        return call
