"""One connection to an endpoint, with blocking calls: it carries one call at a time.

`pool` keeps those that nobody uses; `blocking` writes on them what `calls` prepared."""

import contextlib
import select
import socket
import struct
from time import monotonic
from typing import Any, Final

from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.transport import TBufferedTransport

from meltemi.proxyless.thrift.message import frame_bytes
from meltemi.proxyless.thrift.wire import Wire, WireError

_FIRST_READ_BYTES: Final = 4 * 1024
_MOST_READ_BYTES: Final = 1 << 20
MAX_SEQID: Final = 0x7FFFFFFF
ENDED: Final = select.POLLIN | select.POLLRDHUP | select.POLLHUP | select.POLLERR
_CLOSED: Final = "the peer closed the connection"
_U32: Final = struct.Struct(">I")
_TIMEVAL: Final = struct.Struct("@ll")


class Unsent(Exception):
    """The connection ended before it took a byte: the same bytes may go over another one."""


class Expired(Exception):
    """The time of the attempt is over."""


def _timeval(seconds: float | None) -> bytes:
    """For the kernel, which takes 0 for no limit: never less than a microsecond."""
    micros = 0 if seconds is None else max(1, int(seconds * 1e6))
    return _TIMEVAL.pack(micros // 1_000_000, micros % 1_000_000)


class Connection:
    """A connected socket that blocks, with its time limit in the kernel (so a call is two system
    calls)."""

    __slots__ = (
        "_recv",
        "_send",
        "_socket",
        "deadline_s",
        "idle_since_s",
        "limit_s",
        "poll",
        "reader",
        "seqid",
        "wire",
    )

    def __init__(self, connected: socket.socket, wire: Wire) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(None)
        self._socket = connected
        self._send = connected.send
        self._recv = connected.recv
        poll = select.poll()
        poll.register(connected, ENDED)
        # poll(0): whether the peer closed, or sent what nobody asked for.
        self.poll = poll.poll
        self.limit_s: float | None = None
        # Until when (monotonic clock) what `reader` reads must be there; None: for ever.
        self.deadline_s: float | None = None
        self.wire = wire
        self.idle_since_s = 0.0
        # Ids of messages are 1, 2, … `MAX_SEQID`, 1.
        self.seqid = 0
        # Only for messages without a frame, whose end is found by reading them.
        self.reader: Any = (
            TBinaryProtocol(TBufferedTransport(_SocketSource(self)))
            if wire is Wire.UNFRAMED
            else None
        )

    def limit(self, seconds: float | None) -> None:
        """How long each wait for the peer may take from now on; None: without a limit."""
        value = _timeval(seconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        self.limit_s = seconds

    def exchange(self, data: bytes, deadline_s: float | None) -> bytes:
        """Sends a message and reads the frame that answers it, with its length.

        `Unsent` where the peer took nothing of the message, `Expired`, `WireError`, or OSError.
        What comes behind the frame later makes the connection unfit for more: see `poll`."""
        try:
            sent = self._send(data)
        except BlockingIOError:
            raise Expired from None
        except OSError as error:
            raise Unsent(error) from None
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:], deadline_s)
        try:
            came = self._recv(_FIRST_READ_BYTES)
        except BlockingIOError:
            raise Expired from None
        size = len(came)
        if size > 4 and _U32.unpack_from(came)[0] == size - 4:
            return came
        if not came:
            raise ConnectionResetError(_CLOSED)
        return self._read_rest(bytearray(came), deadline_s)

    def send(self, data: bytes, deadline_s: float | None) -> None:
        """Writes all of it. `Unsent` where the peer took nothing of it, `Expired`, or OSError."""
        try:
            sent = self._send(data)
        except BlockingIOError:
            raise Expired from None
        except OSError as error:
            raise Unsent(error) from None
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:], deadline_s)

    def _send_rest(self, rest: memoryview, deadline_s: float | None) -> None:
        while rest:
            self.limit_until(deadline_s)
            try:
                rest = rest[self._send(rest) :]
            except BlockingIOError:
                raise Expired from None

    def limit_until(self, deadline_s: float | None) -> None:
        """As `limit`, by a time of the monotonic clock. `Expired` where it is past."""
        if deadline_s is not None:
            left_s = deadline_s - monotonic()
            if left_s <= 0:
                raise Expired
            self.limit(left_s)

    def _read_rest(self, have: bytearray, deadline_s: float | None) -> bytes:
        while (size := frame_bytes(have)) is None:
            self.limit_until(deadline_s)
            have += self.read(_FIRST_READ_BYTES)
        if len(have) > size:
            raise WireError(f"{len(have) - size} bytes behind it that nobody asked for")
        # As the bytes come: a length that a peer only claims takes no memory.
        while len(have) < size:
            self.limit_until(deadline_s)
            have += self.read(min(size - len(have), _MOST_READ_BYTES))
        return bytes(have)

    def read(self, size: int) -> bytes:
        """What is there, up to `size` bytes and at least one. `Expired`; OSError at the end."""
        try:
            data = self._recv(size)
        except BlockingIOError:
            raise Expired from None
        if not data:
            raise ConnectionResetError(_CLOSED)
        return data

    def close(self) -> None:
        """Closes the socket; never fails."""
        self.reader = None
        with contextlib.suppress(OSError):
            self._socket.close()


class _SocketSource:
    """The socket as thriftpy2's transports see one."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, size: int) -> bytes:
        connection = self._connection
        connection.limit_until(connection.deadline_s)
        return connection.read(min(size, _MOST_READ_BYTES))  # `size` is what the peer claims

    def is_open(self) -> bool:
        return True

    def close(self) -> None:
        self._connection.close()
