"""`connection` and `pool` for asyncio: connections of one event loop, each with one call at a
time."""

import asyncio
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocol
from thriftpy2.contrib.aio.transport.buffered import TAsyncBufferedTransport

from meltemi.proxyless.thrift.connection import ENDED, Expired, Unsent
from meltemi.proxyless.thrift.message import frame_bytes
from meltemi.proxyless.thrift.pool import IDLE_S, host_and_port
from meltemi.proxyless.thrift.wire import MAX_FRAME_BYTES, Wire, WireError

_CLOSED: Final = "the peer closed the connection"


class AsyncConnection(asyncio.Protocol):
    """A connection as its event loop feeds it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.idle_since_s = 0.0
        # Until when (monotonic clock) the call that is on it waits; None: for ever.
        self.deadline_s: float | None = None
        # Whether a call is on it; what comes while there is none is not kept.
        self.busy = True
        # Ids of messages are 1, 2, … `connection.MAX_SEQID`, 1.
        self.seqid = 0
        self._have = bytearray()
        self._lost: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self._poll: Any
        # Only for messages without a frame, whose end is found by reading them.
        self.reader: Any = (
            TAsyncBinaryProtocol(TAsyncBufferedTransport(_Source(self)))
            if wire is Wire.UNFRAMED
            else None
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll = select.poll()
        poll.register(connected.fileno(), ENDED)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        if self.busy and len(self._have) <= MAX_FRAME_BYTES:
            self._have += data
            self._wake()
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionResetError(_CLOSED)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def ended(self) -> bool:
        """Whether the peer closed, or sent what nobody asked for; the kernel knows before the
        loop."""
        return self._lost is not None or bool(self._have) or bool(self._poll(0))

    def send(self, data: bytes) -> None:
        """Writes it, now or as the socket takes it. `Unsent` where the connection has ended."""
        if self._lost is not None or self._transport.is_closing():
            raise Unsent(self._lost or _CLOSED)
        self._transport.write(data)

    async def frame(self) -> bytes:
        """The next frame, with its length, before `deadline_s`. `Expired`, `WireError`, or OSError
        where there is none."""
        have = self._have
        while (size := frame_bytes(have)) is None or len(have) < size:
            await self._more()
        if len(have) > size:
            raise WireError(f"{len(have) - size} bytes behind it that nobody asked for")
        self._have = bytearray()
        return bytes(have)

    async def read(self, size: int) -> bytes:
        """What is there until `deadline_s`, up to `size` bytes and at least one. Raises as
        `frame`."""
        while not self._have:
            await self._more()
        data = bytes(self._have[:size])
        del self._have[:size]
        return data

    async def _more(self) -> None:
        """Waits for bytes, or for the end."""
        if self._lost is not None:
            raise self._lost if isinstance(self._lost, OSError) else OSError(self._lost)
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None
        if self.deadline_s is not None:
            timer = loop.call_later(max(self.deadline_s - monotonic(), 0), _expire, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Closes at once; never fails."""
        self.reader = None
        self._transport.abort()


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(Expired())


class _Source:
    """The connection as thriftpy2's transports see one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def read(self, size: int) -> bytes:
        return await self._connection.read(size)


class AsyncPool:
    """`pool.Pool` for the connections of one event loop."""

    def __init__(self, source_address: str | None, on_ended: Callable[[str], None]) -> None:
        self._source = (source_address, 0) if source_address else None
        self._idle: dict[str, list[AsyncConnection]] = {}
        self._on_ended = on_ended
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None

    def idle(self, address: str, now_s: float) -> AsyncConnection | None:
        """A connection to `address` that can be used, if there is one."""
        stack = self._idle.get(address)
        while stack:
            connection = stack.pop()
            if now_s - connection.idle_since_s < IDLE_S:
                if not connection.ended():
                    connection.busy = True
                    return connection
                self._on_ended(address)
            connection.close()
        return None

    async def connect(self, address: str, wire: Wire, timeout_s: float) -> AsyncConnection:
        """A new connection. OSError where there is none in time."""
        host, port = host_and_port(address)
        loop = asyncio.get_running_loop()
        made = loop.create_connection(
            lambda: AsyncConnection(wire), host, port, local_addr=self._source
        )
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await made
        except TimeoutError:
            raise OSError(f"timed out after {timeout_s:g} s") from None
        return connection

    def give(self, address: str, connection: AsyncConnection) -> None:
        """Takes back a connection whose call is over, with nothing left to read."""
        if self._closed:
            connection.close()
            return
        connection.idle_since_s = monotonic()
        connection.busy = False
        self._idle.setdefault(address, []).append(connection)
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(IDLE_S, self._sweep)

    def _sweep(self) -> None:
        """Closes what was idle too long, at every address; runs for as long as any is idle."""
        self._sweeper = None
        oldest_s = monotonic() - IDLE_S
        for address, stack in list(self._idle.items()):
            kept = [connection for connection in stack if connection.idle_since_s > oldest_s]
            for connection in stack:
                if connection.idle_since_s <= oldest_s:
                    connection.close()
            if kept:
                self._idle[address] = kept
            else:
                del self._idle[address]
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_S, self._sweep)

    def close(self) -> None:
        """Closes idle connections now, and the others when their calls are over."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for stack in self._idle.values():
            for connection in stack:
                connection.close()
        self._idle.clear()
