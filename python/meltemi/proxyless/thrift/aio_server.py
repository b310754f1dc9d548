"""`server` for asyncio: around `thriftpy2.contrib.aio`'s server and processor."""

import logging
from typing import Any

from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.codec import over_bytes, protocol_over
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.request import Request, is_unframed, parse
from meltemi.proxyless.thrift.server import application_error, business_error, refused, serving
from meltemi.proxyless.thrift.wire import WireError
from thriftpy2.contrib.aio.protocol.binary import TAsyncBinaryProtocol
from thriftpy2.contrib.aio.protocol.compact import TAsyncCompactProtocol
from thriftpy2.contrib.aio.server import TAsyncServer
from thriftpy2.contrib.aio.transport.buffered import TAsyncBufferedTransport
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TMemoryBuffer

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
        self.unframed: Any = None

    async def next(self) -> Request | None:
        """The next call; None where messages have no frames: `unframed` reads them and writes the
        answers. `TTransportException` as `server.Downstream.next`."""
        if self.unframed is not None:
            return None
        if not self._have:
            self._have = await self._transport.read(_READ_BYTES)
        if is_unframed(self._have):
            buffered = TAsyncBufferedTransport(self)
            compact = self._have[0] == message.COMPACT_ID
            made = TAsyncCompactProtocol if compact else TAsyncBinaryProtocol
            self.unframed = made(buffered)
            return None
        try:
            return parse(await self._frame())
        except WireError as error:
            raise refused(error) from None

    async def _frame(self) -> bytes:
        have = bytearray(self._have)
        while (size := message.frame_bytes(have)) is None or len(have) < size:
            have += await self._transport.read(_READ_BYTES)
        self._have = bytes(have[size:])
        return bytes(have[:size])

    async def read(self, size: int) -> bytes:
        """For `unframed`: what was read before the caller was known, then what comes."""
        if self._have:
            data, self._have = self._have[:size], self._have[size:]
            return data
        came: bytes = await self._transport.read(size)
        return came

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def flush(self) -> None:
        await self._transport.flush()

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


class AsyncProcessor:
    """Around thriftpy2's `TAsyncProcessor`, as `server.Processor`."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    async def process(self, downstream: AsyncDownstream, _: AsyncDownstream) -> None:
        """Serves one call. Raises what thriftpy2's processors raise."""
        request = await downstream.next()
        if request is None:
            await self._processor.process(downstream.unframed, downstream.unframed)
            return
        both = _Bytes(request)
        added: dict[str, str] = {}
        with serving(request, added):
            try:
                await self._processor.process(both, both)
                reply = both.answer()
                data = request.framed(reply, added) if reply else b""
            except BizStatusError as error:
                data = business_error(request, error, added)
            except TApplicationException as error:  # thriftpy2's blocking processor answers it
                data = application_error(request, error, added)
        if data:
            downstream.write(data)
            await downstream.flush()
