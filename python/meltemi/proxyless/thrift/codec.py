"""thriftpy2's own encoders over bytes: what a call says, and what a reply answers.

Cython's binary protocol where it is there, which is CPython's normal case. One `Codec` is used by
one thread at a time. The reader stands on a stream that says where it ends: thriftpy2's memory
buffer would make values of what is not there when a message is cut."""

from io import BytesIO
from typing import Any, Final

from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.protocol.compact import TCompactProtocol
from thriftpy2.transport import TBufferedTransport, TMemoryBuffer

# A buffer that grew beyond this by a large message is not kept.
_KEPT_BYTES: Final = 1 << 20


class Codec:
    """Encodes structs to bytes and decodes them from bytes."""

    __slots__ = ("_buffered", "_memory", "_read_struct", "_stream", "_writer")

    def __init__(self) -> None:
        self._stream = BytesIO()
        self._buffered = TBufferedTransport(self._stream)
        self._read_struct = TBinaryProtocol(self._buffered).read_struct
        self._memory = TMemoryBuffer()
        self._writer = TBinaryProtocol(self._memory)

    def encode(self, struct: Any) -> bytes:
        """`struct` in binary. `TDecodeException` where a value is not of its field's type."""
        memory = self._memory
        memory.clean()  # here: what failed or was interrupted half-way is in no later call
        self._writer.write_struct(struct)
        body: bytes = memory.getvalue()
        if len(body) > _KEPT_BYTES:
            self._memory = TMemoryBuffer()
            self._writer = TBinaryProtocol(self._memory)
        return body

    def decode(self, struct: Any, data: bytes, at: int) -> Any:
        """Fills `struct` from the bytes of `data` that start at `at`, and returns it.

        `TTransportException` where they end too early, and what thriftpy2 raises for others."""
        self._stream.__init__(data)  # type: ignore[misc] # shows other bytes without a copy
        self._stream.seek(at)
        self._buffered.clean()
        return self._read_struct(struct)


class ServerCodec:
    """Protocols for the calls of one connection, one after the other, and what is answered."""

    __slots__ = ("_buffered", "_memory", "_reader", "_stream", "_writer", "_written")

    def __init__(self) -> None:
        self._stream = BytesIO()
        self._buffered = TBufferedTransport(self._stream)
        self._reader = TBinaryProtocol(self._buffered)
        self._memory = TMemoryBuffer()
        self._writer = TBinaryProtocol(self._memory)
        self._written = self._memory

    def over(self, payload: bytes, *, compact: bool) -> tuple[Any, Any]:
        """What reads the message `payload`, and what its answer is written to."""
        if compact:
            self._written = TMemoryBuffer()
            reader = over_bytes(payload, compact=True)
            return reader, protocol_over(self._written, compact=True)
        self._stream.__init__(payload)  # type: ignore[misc] # shows other bytes without a copy
        self._buffered.clean()
        self._memory.clean()
        self._written = self._memory
        return self._reader, self._writer

    def written(self) -> bytes:
        """The answer, whole."""
        data: bytes = self._written.getvalue()
        if len(data) > _KEPT_BYTES:
            self._memory = TMemoryBuffer()
            self._writer = TBinaryProtocol(self._memory)
        return data


def protocol_over(transport: Any, *, compact: bool) -> Any:
    """thriftpy2's protocol over one of its transports, to read or to write."""
    return TCompactProtocol(transport) if compact else TBinaryProtocol(transport)


def over_bytes(data: bytes, *, compact: bool) -> Any:
    """The same to read what is in `data`, with an error where it ends too early."""
    return protocol_over(TBufferedTransport(BytesIO(data)), compact=compact)
