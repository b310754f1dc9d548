"""Servers of thriftpy2 that read and answer in what their callers speak.

`mesh_server` puts these parts around what a server has: each message is recognised by its first
bytes (TTHeader, THeader, framed or not, binary or compact) and answered in the same; the handler
runs in the OpenTelemetry context that came with the call. `aio_server` has the same for
asyncio."""

import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import Context, attach, detach
from thriftpy2.contrib.aio.server import TAsyncServer
from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.server import TServer
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TBufferedTransport, TMemoryBuffer
from thriftpy2.transport.base import TTransportException

from meltemi.proxyless.context import incoming
from meltemi.proxyless.guard import NOTHING, Guard, Keys
from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.calls import SERVING
from meltemi.proxyless.thrift.codec import ServerCodec, over_bytes, protocol_over
from meltemi.proxyless.thrift.errors import BizStatusError
from meltemi.proxyless.thrift.request import (
    ANSWERING,
    Manner,
    Request,
    is_unframed,
    method_of,
    parse,
)
from meltemi.proxyless.thrift.wire import WireError

if TYPE_CHECKING:
    from meltemi.proxyless.mesh import Mesh

_LOG = logging.getLogger("meltemi.proxyless.thrift")
_READ_BYTES = 16 * 1024


class Downstream:
    """A caller's connection: transport and protocol at once for thriftpy2's servers, which ask
    their factories for both and give them to the processor."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._have = b""
        # How the last call was written.
        self._manner: Manner | None = None
        self.codec = ServerCodec()
        # What reads messages without frames, once the caller has begun to send such.
        self.unframed: Any = None

    @functools.cached_property
    def address(self) -> str:
        """The IP address of the caller; "" where it is none."""
        sock = getattr(self._transport, "sock", None)
        return ip_of(sock.getpeername()) if sock is not None else ""

    def next(self) -> Request | None:
        """The next call; None where messages have no frames: `unframed` reads them.

        `TTransportException` where the caller is gone, has nothing to say in time, or sends what
        is no call (logged)."""
        if self.unframed is not None:
            return None
        if not self._have:
            self._have = self._first_bytes()
        if is_unframed(self._have):
            compact = self._have[0] == message.COMPACT_ID
            self.unframed = Unframed(protocol_over(TBufferedTransport(self), compact=compact))
            return None
        try:
            request = parse(self._frame(), self._manner)
        except WireError as error:
            raise refused(error) from None
        self._manner = request.manner
        return request

    def _first_bytes(self) -> bytes:
        try:
            return self._came(_READ_BYTES)
        except TimeoutError:
            # Between two calls: nothing is wrong, and nothing to log.
            raise TTransportException(TTransportException.TIMED_OUT, "idle") from None

    def _frame(self) -> bytes:
        whole = self._have
        if message.frame_bytes(whole) == len(whole):
            self._have = b""
            return whole
        have = bytearray(whole)
        while (size := message.frame_bytes(have)) is None or len(have) < size:
            wanted = _READ_BYTES if size is None else min(size - len(have), 1 << 20)
            have += self._came(max(wanted, _READ_BYTES))
        self._have = bytes(have[size:])
        return bytes(have[:size])

    def read(self, size: int) -> bytes:
        """For `unframed`: what was read before the caller was known, then what comes."""
        if self._have:
            data, self._have = self._have[:size], self._have[size:]
            return data
        return self._came(size)

    def _came(self, size: int) -> bytes:
        try:
            data: bytes = self._transport.read(size)
        except ConnectionError as error:
            raise caller_gone(error) from None
        return data

    def write(self, data: bytes) -> None:
        """Sends an answer."""
        try:
            self._transport.write(data)
            self._transport.flush()
        except ConnectionError as error:
            raise caller_gone(error) from None

    def is_open(self) -> bool:
        return bool(self._transport.is_open())

    def close(self) -> None:
        self._transport.close()


def ip_of(peer: Any) -> str:
    """The IP address of what a socket calls its peer; "" for a Unix socket's."""
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def refused(error: WireError) -> TTransportException:
    """Ends a connection whose bytes are no call: logged, then as thriftpy2's servers end one."""
    _LOG.warning("a caller was disconnected: it sent %s", error)
    return TTransportException(TTransportException.UNKNOWN, str(error))


def caller_gone(error: ConnectionError) -> TTransportException:
    """Ends a connection that its caller cut, as one that it closed: nothing is wrong here."""
    return TTransportException(TTransportException.END_OF_FILE, f"the caller is gone: {error}")


class DownstreamFactory:
    """In the places of a server's transport factories."""

    def get_transport(self, transport: Any) -> Downstream:
        return Downstream(transport)


class SameFactory:
    """In the places of a server's protocol factories: a `Downstream` is its own protocol."""

    def get_protocol(self, transport: Any) -> Any:
        return transport


class Unframed:
    """A protocol that reads messages as they come; it notes how the last one began."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.is_compact = not isinstance(protocol, TBinaryProtocol)
        self.name = ""
        self.seqid = 0

    def read_message_begin(self) -> tuple[str, int, int]:
        self.name, kind, self.seqid = self._protocol.read_message_begin()
        SERVING.set(method_of(self.name))
        return self.name, kind, self.seqid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)


class Processor:
    """Around a processor of thriftpy2: gives it each call, and its answer the frame of the call."""

    def __init__(self, processor: Any, guard: Guard | None = None) -> None:
        self._processor = processor
        self._guard = guard

    def process(self, downstream: Downstream, _: Downstream) -> None:
        """Serves one call. Raises what thriftpy2's processors raise."""
        request = downstream.next()
        if request is None:
            data = self._unframed(downstream.unframed)
        else:
            denied = self._guard.denied(downstream.address) if self._guard else NOTHING
            data = self._framed(request, downstream.codec, denied)
        if data:
            downstream.write(data)

    def _framed(self, request: Request, codec: ServerCodec, denied: Keys) -> bytes:
        reader, writer = codec.over(request.payload, compact=request.is_compact)
        added: dict[str, str] = {}
        with serving(request.manner.context_without(denied), request.method, added):
            try:
                self._processor.process(reader, writer)
            except BizStatusError as error:
                return business_error(request, error, added)
        reply = codec.written()
        return request.framed(reply, added) if reply else b""

    def _unframed(self, reader: Unframed) -> bytes:
        memory = TMemoryBuffer()
        writer = protocol_over(memory, compact=reader.is_compact)
        with serving(incoming(), None, {}):
            try:
                self._processor.process(reader, writer)
            except BizStatusError as error:
                return exception_message(
                    reader.name, reader.seqid, as_application_error(error), reader.is_compact
                )
        reply: bytes = memory.getvalue()
        return reply


def business_error(request: Request, error: BizStatusError, added: dict[str, str]) -> bytes:
    """The answer to a call whose handler raised a `BizStatusError`."""
    if request.carries_business_errors:
        return request.business_error(error, added)
    return application_error(request, as_application_error(error), added)


def as_application_error(error: BizStatusError) -> TApplicationException:
    """What callers get whose wire has no place for a business status."""
    text = f"{error.message} (business status {error.status})".lstrip()
    return TApplicationException(TApplicationException.INTERNAL_ERROR, text)


def application_error(
    request: Request, error: TApplicationException, added: dict[str, str]
) -> bytes:
    """The answer to a call that failed so."""
    reader = over_bytes(request.payload, compact=request.is_compact)
    name, _, seqid = reader.read_message_begin()
    return request.framed(exception_message(name, seqid, error, request.is_compact), added)


def exception_message(name: str, seqid: int, error: TApplicationException, compact: bool) -> bytes:
    """The whole message of an exception, without a frame."""
    memory = TMemoryBuffer()
    writer = protocol_over(memory, compact=compact)
    writer.write_message_begin(name, message.EXCEPTION, seqid)
    error.write(writer)
    writer.write_message_end()
    written: bytes = memory.getvalue()
    return written


class serving:  # used as a with statement, on each call
    """What holds while a call is served: OpenTelemetry's `context`, the method, and what the
    handler adds to its answer."""

    __slots__ = ("_added", "_context", "_method", "_tokens")

    def __init__(self, context: Context, method: str | None, added: dict[str, str]) -> None:
        self._context = context
        self._method = method
        self._added = added

    def __enter__(self) -> None:
        self._tokens = (
            attach(self._context),
            SERVING.set(self._method),
            ANSWERING.set(self._added),
        )

    def __exit__(self, *_: object) -> None:
        context, method, answering = self._tokens
        ANSWERING.reset(answering)
        SERVING.reset(method)
        detach(context)


Server = TypeVar("Server")


def mesh_server(server: Server, *, mesh: "Mesh | None" = None) -> Server:
    """The same server of thriftpy2, which from now on reads and answers in what each caller speaks.

    For `TSimpleServer`, `TThreadedServer` and what else is a `TServer`, and for `TAsyncServer`;
    its own transport and protocol factories are not used any more. Its handlers run in the
    OpenTelemetry context that came with the call; with `mesh`, marks of lanes in it are those of
    callers whose marks count. TypeError for what is no such server."""
    guard = Guard(mesh) if mesh is not None else None
    if isinstance(server, TServer):
        server.processor = Processor(server.processor, guard)
        transports: Any = DownstreamFactory()
    elif isinstance(server, TAsyncServer):
        from meltemi.proxyless.thrift import aio_server

        aio_server.warn_of_timeout(server)
        server.processor = aio_server.AsyncProcessor(server.processor, guard)
        transports = aio_server.AsyncDownstreamFactory()
    else:
        raise TypeError(f"{server!r} is no server of thriftpy2: want a TServer or a TAsyncServer")
    server.itrans_factory = server.otrans_factory = transports
    server.iprot_factory = server.oprot_factory = SameFactory()
    return server
