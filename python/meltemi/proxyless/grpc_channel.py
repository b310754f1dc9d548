"""`grpc.Channel` over a mesh: each call goes by its own route to its own endpoint.

`mesh.grpc("ratings.default:9080")` makes one; generated stubs take it as any channel. Under it is
one channel of grpcio's for each endpoint (`grpc_endpoints`). A unary call runs in its caller's
thread; futures and streams are `grpc_running`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from meltemi.proxyless.errors import MeltemiError
from meltemi.proxyless.grpc_calls import Metadata, Rpc, channel_options, status_of
from meltemi.proxyless.grpc_ended import NotSentError
from meltemi.proxyless.grpc_endpoints import Endpoint, Endpoints
from meltemi.proxyless.grpc_replay import Replay
from meltemi.proxyless.grpc_running import Attempts, EndedRpc, RunningRpc
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.target import Target

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class MeshChannel(grpc.Channel):  # type: ignore[misc]
    """See the module. To be used by many threads at once; `close` ends its calls."""

    def __init__(
        self, mesh: Mesh, target: Target, options: Sequence[tuple[str, object]] | None = None
    ) -> None:
        self.mesh = mesh
        self.target = target
        self._options = channel_options(target.authority, options)
        self.endpoints: Endpoints[Any] = Endpoints(self._connected, lambda channel: channel.close())
        self._closed = False

    def _connected(self, address: str) -> Any:
        return grpc.insecure_channel(address, self._options)

    def route(self, rpc: Rpc) -> NotSentError | None:
        """Routes `rpc`; what it gives says why it could not."""
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")  # as grpcio does
        try:
            left_s = rpc.deadline.left_s()
            rpc.routed(self.mesh.call(self.target, rpc.path, rpc.routing_headers, left_s))
        except MeltemiError as error:
            return _not_sent(error)
        return None

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable:
        return UnaryUnary(self, "unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable:
        return UnaryStream(self, "unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable:
        return StreamUnary(self, "stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable:
        return StreamStream(
            self, "stream_stream", method, request_serializer, response_deserializer
        )

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Says READY: each call finds its own endpoint, and there is no one connection to watch."""
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing was held for `callback`."""

    def close(self) -> None:
        """Cancels the calls in flight and closes the connections."""
        self._closed = True
        self.endpoints.close()

    def __enter__(self) -> MeshChannel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def channel(
    mesh: Mesh, target: str, options: Sequence[tuple[str, object]] | None = None
) -> MeshChannel:
    """A channel to `target` (`ratings.default:9080`); `options` are grpcio's, for each endpoint."""
    return MeshChannel(mesh, mesh.target(target), options)


class _Method:
    """One method of a channel, as it was asked for."""

    def __init__(
        self,
        channel: MeshChannel,
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
            found = self._made(endpoint, self._deserializer)
            self._callables[endpoint] = found
        return found

    def _made(self, endpoint: Endpoint[Any], deserializer: Deserializer) -> Any:
        make = getattr(endpoint.channel, self._kind)
        return make(self._path, self._serializer, deserializer)

    def _rpc(self, timeout: float | None, metadata: Metadata | None, waits: bool | None) -> Rpc:
        return Rpc(self._channel.target, self._path, timeout, metadata, bool(waits))

    def _blocking(
        self, requests: Any, replay: Replay | None, rpc: Rpc, credentials: Any, compression: Any
    ) -> tuple[Any, grpc.Call]:
        """Runs a call of one response in this thread: the response, and the call object."""
        endpoints = self._channel.endpoints
        try:
            while True:
                error: Any = None if rpc.call is not None else self._channel.route(rpc)
                if error is not None:
                    wait_s = rpc.unroutable()
                else:
                    address, metadata, left_s = rpc.attempt()
                    endpoint = endpoints.began(address)
                    try:
                        response, call = self._at(endpoint).with_call(
                            requests if replay is None else replay.requests(),
                            left_s,
                            metadata,
                            credentials,
                            None,
                            compression,
                        )
                    except grpc.RpcError as failure:
                        error = failure
                        again = replay is None or replay.whole
                        wait_s = rpc.failed(error.code(), error.details(), again)
                    else:
                        rpc.succeeded()
                        return response, EndedRpc(rpc, call)
                    finally:
                        endpoints.over(endpoint)
                if wait_s is None:
                    rpc.ended(error.code(), error)
                    raise error
                time.sleep(wait_s)
        except BaseException:
            rpc.abandoned()
            raise

    def _running(
        self,
        requests: Any,
        replay: Replay | None,
        rpc: Rpc,
        credentials: Any,
        compression: Any,
    ) -> RunningRpc:
        """Starts a future or a stream."""
        endpoints = self._channel.endpoints
        streams = self._kind.endswith("_stream")

        def begin(attempts: Attempts) -> Any:
            address, metadata, left_s = rpc.attempt()
            endpoint = endpoints.began(address)
            body = requests if replay is None else replay.requests()
            try:
                if streams:
                    method = self._made(endpoint, attempts.received_by(self._deserializer))
                else:
                    method = self._at(endpoint).future
                inner = method(body, left_s, metadata, credentials, None, compression)
            except BaseException:
                endpoints.over(endpoint)
                raise
            inner.add_done_callback(lambda _: endpoints.over(endpoint))
            return inner

        attempts = Attempts(rpc, lambda: self._channel.route(rpc), begin, replay)
        attempts.start()
        return RunningRpc(attempts)


class UnaryUnary(_Method, grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """A method of one request and one response."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._blocking(request, None, rpc, credentials, compression)[0]

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> tuple[Any, grpc.Call]:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._blocking(request, None, rpc, credentials, compression)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> RunningRpc:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._running(request, None, rpc, credentials, compression)


class UnaryStream(_Method, grpc.UnaryStreamMultiCallable):  # type: ignore[misc]
    """A method of one request and many responses."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> RunningRpc:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._running(request, None, rpc, credentials, compression)


class StreamUnary(_Method, grpc.StreamUnaryMultiCallable):  # type: ignore[misc]
    """A method of many requests and one response."""

    def __call__(
        self,
        request_iterator: Iterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._blocking(None, Replay(request_iterator), rpc, credentials, compression)[0]

    def with_call(
        self,
        request_iterator: Iterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> tuple[Any, grpc.Call]:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._blocking(None, Replay(request_iterator), rpc, credentials, compression)

    def future(
        self,
        request_iterator: Iterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> RunningRpc:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._running(None, Replay(request_iterator), rpc, credentials, compression)


class StreamStream(_Method, grpc.StreamStreamMultiCallable):  # type: ignore[misc]
    """A method of many requests and many responses."""

    def __call__(
        self,
        request_iterator: Iterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> RunningRpc:
        rpc = self._rpc(timeout, metadata, wait_for_ready)
        return self._running(None, Replay(request_iterator), rpc, credentials, compression)


def _not_sent(error: MeltemiError) -> NotSentError:
    ended = NotSentError(*status_of(error))
    ended.__cause__ = error
    return ended
