"""The gRPC shell around the client's state machine: one ADS stream that is kept up.

`sidecar` and `proxyless` own one AdsClient each and give it what applies an update (the engine).
While the server is away everything that was received stays in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import grpc.aio

from meltemi.xds import discovery, messages
from meltemi.xds.client_state import ClientState
from meltemi.xds.client_values import Update
from meltemi.xds.resource import Node
from meltemi.xds.shell import (
    CONNECT_S,
    KEEPALIVE_S,
    Accepted,
    ClientStatus,
    OnUpdate,
    backoff_s,
    node_message,
    short,
)

log = logging.getLogger("meltemi.xds.client")


class AdsClient:
    """Keeps one ADS stream to a server up and hands what it brings to `on_update`.

    `address`: as gRPC takes it (`127.0.0.1:15010`, `unix:/path`). `token`: sent as a bearer token;
    only over loopback or TLS (`credentials`). All methods are for the event loop's thread.
    """

    def __init__(
        self,
        address: str,
        node: Node,
        token: str | None = None,
        *,
        on_update: OnUpdate,
        delta: bool = True,
        everything_of: Sequence[str] = (messages.CLUSTER, messages.LISTENER, messages.WORKLOAD),
        credentials: grpc.ChannelCredentials | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._address = address
        self._node = node
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._on_update = on_update
        self._delta = delta
        self._credentials = credentials
        self._rng = rng or random.Random()
        self._state = ClientState(delta=delta, everything_of=everything_of)
        self._connected = False
        self._since: float | None = None
        self._last_error: str | None = None
        self._attempt = 0
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="meltemi-xds")

    def start(self) -> None:
        """Begins to connect, and goes on until `close`."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="xds-client")

    async def close(self) -> None:
        """Ends the stream. An update that is being applied is waited for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._thread.shutdown)

    async def __aenter__(self) -> AdsClient:
        self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def status(self) -> ClientStatus:
        return ClientStatus(
            server=self._address,
            delta=self._delta,
            connected=self._connected,
            since=self._since,
            last_error=self._last_error,
            types=self._state.status(),
        )

    def resources(self, type_url: str) -> dict[str, Accepted]:
        """What is in use of a type, by name."""
        epoch = time.time() - _now()
        return {
            name: Accepted(held.resource, held.since + epoch)
            for name, held in self._state.held(type_url).items()
        }

    # === the stream ===

    async def _run(self) -> None:
        while True:
            try:
                await self._stream()
                self._lost("the server ended the stream")
            except grpc.aio.AioRpcError as exc:
                self._lost(f"{exc.code().name}: {exc.details()}")
            except discovery.MalformedError as exc:
                self._lost(str(exc))
            wait_s = backoff_s(self._attempt, self._rng)
            self._attempt += 1
            log.debug("trying %s again in %.1f s", self._address, wait_s)
            await asyncio.sleep(wait_s)

    async def _stream(self) -> None:
        """One stream, from its connection to its end."""
        async with self._channel() as channel:
            await _settled(channel)
            service = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
            method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
            call = channel.stream_stream(service + method)(metadata=self._metadata)
            welcome = asyncio.create_task(self._welcome(call))
            try:
                await self._send(call, self._state.connect(_now()), first=True)
                await self._read(call)
            finally:
                self._state.disconnect()
                welcome.cancel()
                call.cancel()

    async def _welcome(self, call: Any) -> None:
        """A server of ours says that it accepted us before it has anything to send: to a node that
        comes back and lacks nothing it may have nothing to send for long."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if discovery.WELCOME in dict(await call.initial_metadata() or ()):
                self._up()

    def _channel(self) -> grpc.aio.Channel:
        options = (
            ("grpc.use_local_subchannel_pool", 1),  # else a former failure's backoff is shared
            ("grpc.max_receive_message_length", -1),
            ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_http_proxy", 0),
        )
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, options)
        return grpc.aio.secure_channel(self._address, self._credentials, options)

    async def _send(self, call: Any, requests: Sequence[Any], *, first: bool = False) -> None:
        encode: Callable[[Any, Any], bytes] = (
            discovery.encode_delta_request if self._delta else discovery.encode_sotw_request
        )
        for request in requests:
            try:
                await call.write(encode(request, node_message(self._node) if first else None))
            except asyncio.InvalidStateError:
                return  # the call is over; reading from it says why
            first = False

    async def _read(self, call: Any) -> None:
        """Takes responses and deadlines as they come, until the stream ends."""
        decode = discovery.decode_delta_response if self._delta else discovery.decode_sotw_response
        reading = _read_one(call)
        try:
            while True:
                deadline = self._state.deadline(_now())
                timeout = None if deadline is None else max(0.0, deadline - _now())
                await asyncio.wait({reading}, timeout=timeout)
                if reading.done():
                    data = reading.result()
                    if data is grpc.aio.EOF:
                        return
                    self._up()
                    self._state.receive(decode(data))
                    reading = _read_one(call)
                for type_url, name in self._state.expire(_now()):
                    log.warning("the server has no %s %r", short(type_url), name)
                while (update := self._state.next_update(_now())) is not None:
                    refused = await self._apply(update)
                    await self._send(call, self._state.applied(refused, _now()))
        finally:
            reading.cancel()

    async def _apply(self, update: Update) -> Sequence[tuple[str, str]]:
        if not update.resources and not update.removed:
            return ()
        resources = [(resource.name, resource.body) for resource in update.resources]
        try:
            refused = await asyncio.get_running_loop().run_in_executor(
                self._thread,
                self._on_update,
                update.type_url,
                update.version,
                resources,
                update.removed,
            )
        except Exception as exc:
            log.exception("cannot apply %s version %s", short(update.type_url), update.version)
            return [(name, str(exc) or type(exc).__name__) for name, _body in resources]
        log.info(
            "%s version %s: %d taken, %d removed, %d refused",
            short(update.type_url),
            update.version,
            len(resources) - len(refused),
            len(update.removed),
            len(refused),
        )
        for name, reason in refused:
            log.warning("%s %r keeps its last good state: %r", short(update.type_url), name, reason)
        return refused

    def _up(self) -> None:
        self._attempt = 0
        if not self._connected:
            self._connected, self._since, self._last_error = True, time.time(), None
            log.info("connected to %s as %s", self._address, self._node.id)

    def _lost(self, reason: str) -> None:
        if self._connected or self._since is None:
            self._since = time.time()
        if self._connected or self._last_error != reason:  # not once for every attempt
            log.warning("no stream to %s, what was received stays: %s", self._address, reason)
        self._connected, self._last_error = False, reason


def _now() -> float:
    return time.monotonic()


def _read_one(call: Any) -> asyncio.Future[Any]:
    reading: asyncio.Future[Any] = asyncio.ensure_future(call.read())
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())
    return reading


async def _settled(channel: grpc.aio.Channel) -> None:
    """Waits until the channel is connected, or has failed: then the first call on it says why."""
    state = channel.get_state(try_to_connect=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_S):
            while state not in _SETTLED:
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)


_SETTLED: Final = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE)
