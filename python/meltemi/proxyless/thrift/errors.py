"""What a Thrift call raises beside what its IDL declares.

Those about the connection are `TTransportException`s too, so that code written for thriftpy2 goes
on catching them. `TApplicationException` comes from the peer, as thriftpy2 raises it."""

from collections.abc import Mapping

from thriftpy2.transport.base import TTransportException

from meltemi.proxyless.errors import CallTimeoutError, ConnectError, MeltemiError


class _Transport(TTransportException):  # type: ignore[misc] # thriftpy2 is not typed
    """What thriftpy2's payloads lack as exceptions: a text, and a hash by identity."""

    def __str__(self) -> str:
        return self.message or ""


class ThriftConnectError(_Transport, ConnectError):
    """No connection to any endpoint that the route allows. Nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(TTransportException.NOT_OPEN, message)


class ThriftTimeoutError(_Transport, CallTimeoutError, TimeoutError):
    """No reply in time. The call may have been served."""

    def __init__(self, message: str) -> None:
        super().__init__(TTransportException.TIMED_OUT, message)


class ConnectionLostError(_Transport, MeltemiError):
    """The connection ended before the reply. The call may have been served."""

    def __init__(self, message: str) -> None:
        super().__init__(TTransportException.END_OF_FILE, message)


class BadReplyError(_Transport, MeltemiError):
    """What came back is no reply to the call: other bytes, another method, another id."""

    def __init__(self, message: str) -> None:
        super().__init__(TTransportException.UNKNOWN, message)


class MetadataError(MeltemiError):
    """The metadata of a call have no room in its header. Nothing was sent."""


class BizStatusError(MeltemiError):
    """A business error as Kitex carries it beside a reply: a status, a message and more.

    A handler raises it to answer with one; a client raises it for a reply that has one. It counts
    as a reply: nothing is tried again. Only TTHeader carries it; callers that speak another wire
    get a `TApplicationException` INTERNAL_ERROR with the message."""

    def __init__(
        self, status: int, message: str = "", extra: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"business status {status}: {message}")
        self.status = status
        self.message = message
        self.extra = dict(extra or {})
