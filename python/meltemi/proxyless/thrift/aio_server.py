"""`server` for asyncio: around `thriftpy2.contrib.aio`'s server and processor."""

import functools
import logging
from typing import Any

from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocol
from thriftpy2.contrib.aio.protocol.compact import TAsyncCompactProtocol
from thriftpy2.contrib.aio.server import TAsyncServer
from thriftpy2.contrib.aio.transport.buffered import TAsyncBufferedTransport
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TMemoryBuffer

from meltemi.proxyless.context import incoming
from meltemi.proxyless.guard import NOTHING, Guard, Keys
from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.calls import SERVING
from meltemi.proxyless.thrift.codec import over_bytes, protocol_over
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.request import Manner, Request, is_unframed, method_of, parse
from meltemi.proxyless.thrift.server import (
    application_error,
    as_application_error,
    business_error,
    caller_gone,
    exception_message,
    ip_of,
    refused,
    serving,
)
from meltemi.proxyless.thrift.wire import WireError

_LOG = logging.getLogger("meltemi.proxyless.thrift")
_READ_BYTES = 16 * 1024


def warn_of_timeout(server: TAsyncServer) -> None:
    """thriftpy2 counts its `client_timeout` from the start of a connection, not of a silence."""
    timeout_s = getattr(server.trans, "client_timeout", None)
    if timeout_s:
        _LOG.warning(
            "thriftpy2's asyncio server closes each connection %g s after it was opened, also in"
            " the middle of a call: make it with client_timeout=None",
            timeout_s,
        )


class AsyncDownstream:
    """`server.Downstream` with reads that are awaited."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._have = b""
        self._manner: Manner | None = None
        self.unframed: Any = None

    @functools.cached_property
    def address(self) -> str:
        """The IP address of the caller; "" where it is none."""
        return ip_of(self._transport.writer.get_extra_info("peername"))

    async def next(self) -> Request | None:
        """The next call; None where messages have no frames: `unframed` reads them and writes the
        answers. `TTransportException` as `server.Downstream.next`."""
        if self.unframed is not None:
            return None
        if not self._have:
            self._have = await self._came(_READ_BYTES)
        if is_unframed(self._have):
            buffered = TAsyncBufferedTransport(self)
            compact = self._have[0] == message.COMPACT_ID
            made = TAsyncCompactProtocol if compact else TAsyncBinaryProtocol
            self.unframed = AsyncUnframed(made(buffered), compact)
            return None
        try:
            request = parse(await self._frame(), self._manner)
        except WireError as error:
            raise refused(error) from None
        self._manner = request.manner
        return request

    async def _frame(self) -> bytes:
        have = bytearray(self._have)
        while (size := message.frame_bytes(have)) is None or len(have) < size:
            have += await self._came(_READ_BYTES)
        self._have = bytes(have[size:])
        return bytes(have[:size])

    async def read(self, size: int) -> bytes:
        """For `unframed`: what was read before the caller was known, then what comes."""
        if self._have:
            data, self._have = self._have[:size], self._have[size:]
            return data
        return await self._came(size)

    async def _came(self, size: int) -> bytes:
        try:
            data: bytes = await self._transport.read(size)
        except ConnectionError as error:
            raise caller_gone(error) from None
        return data

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def flush(self) -> None:
        try:
            await self._transport.flush()
        except ConnectionError as error:
            raise caller_gone(error) from None

    def is_open(self) -> bool:
        return True

    async def open(self) -> None:
        """Nothing: a caller's connection is open."""

    def close(self) -> None:
        self._transport.close()


class AsyncDownstreamFactory:
    """In the places of a server's transport factories."""

    def get_transport(self, transport: Any) -> AsyncDownstream:
        return AsyncDownstream(transport)


class _Bytes:
    """A message that is there whole, as an asynchronous protocol: nothing in it waits."""

    def __init__(self, request: Request) -> None:
        self._reader = over_bytes(request.payload, compact=request.is_compact)
        self._memory = TMemoryBuffer()
        self._writer = protocol_over(self._memory, compact=request.is_compact)
        self.write_message_begin = self._writer.write_message_begin
        self.write_message_end = self._writer.write_message_end
        self.write_struct = self._writer.write_struct
        self.trans = self

    async def read_message_begin(self) -> Any:
        return self._reader.read_message_begin()

    async def read_message_end(self) -> None:
        self._reader.read_message_end()

    async def read_struct(self, struct: Any) -> Any:
        return self._reader.read_struct(struct)

    async def skip(self, ttype: int) -> None:
        self._reader.skip(ttype)

    async def flush(self) -> None:
        """Nothing: `answer` is asked for when the call was served."""

    def answer(self) -> bytes:
        """What was written."""
        written: bytes = self._memory.getvalue()
        return written


class AsyncUnframed:
    """`server.Unframed` with reads that are awaited; it writes too."""

    def __init__(self, protocol: Any, is_compact: bool) -> None:
        self._protocol = protocol
        self.is_compact = is_compact
        self.name = ""
        self.seqid = 0

    async def read_message_begin(self) -> tuple[str, int, int]:
        self.name, kind, self.seqid = await self._protocol.read_message_begin()
        SERVING.set(method_of(self.name))
        return self.name, kind, self.seqid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)


class AsyncProcessor:
    """Around thriftpy2's `TAsyncProcessor`, as `server.Processor`."""

    def __init__(self, processor: Any, guard: Guard | None = None) -> None:
        self._processor = processor
        self._guard = guard

    async def process(self, downstream: AsyncDownstream, _: AsyncDownstream) -> None:
        """Serves one call. Raises what thriftpy2's processors raise."""
        request = await downstream.next()
        if request is None:
            data = await self._unframed(downstream.unframed)
        else:
            denied = self._guard.denied(downstream.address) if self._guard else NOTHING
            data = await self._framed(request, denied)
        if data:
            downstream.write(data)
            await downstream.flush()

    async def _framed(self, request: Request, denied: Keys) -> bytes:
        both = _Bytes(request)
        added: dict[str, str] = {}
        with serving(request.manner.context_without(denied), request.method, added):
            try:
                await self._processor.process(both, both)
            except BizStatusError as error:
                return business_error(request, error, added)
            except TApplicationException as error:  # thriftpy2's blocking processor answers it
                return application_error(request, error, added)
        reply = both.answer()
        return request.framed(reply, added) if reply else b""

    async def _unframed(self, both: AsyncUnframed) -> bytes:
        """Serves a call; the answer is written already, but for an error that is returned."""
        with serving(incoming(), None, {}):
            try:
                await self._processor.process(both, both)
                return b""
            except BizStatusError as error:
                failed = as_application_error(error)
            except TApplicationException as error:
                failed = error
        return exception_message(both.name, both.seqid, failed, both.is_compact)
