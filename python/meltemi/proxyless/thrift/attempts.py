"""Why an attempt failed, in the words of `Call.failed`, and what the user is told when no other
follows.

Shared by `blocking` and `aio`, which differ only in how they wait."""

from typing import Final

from meltemi.proxyless.thrift.connection import Expired
from meltemi.proxyless.thrift.errors import (
    BadReplyError,
    ConnectionLostError,
    ThriftConnectError,
    ThriftTimeoutError,
)

CONNECT_FAILURE: Final = "connect-failure"
RESET_BEFORE_REQUEST: Final = "reset-before-request"
RESET: Final = "reset"
TIMEOUT: Final = "timeout"
STATUS: Final = "status"

# What an answer of an endpoint that could not serve counts as, for rules that speak of statuses.
INTERNAL_ERROR_STATUS: Final = 500


class AttemptError(Exception):
    """One attempt that failed: its reason, and the error that the user gets if it was the last."""

    def __init__(self, reason: str, error: Exception, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.status = status


def not_connected(address: str, why: object) -> AttemptError:
    """No connection to the endpoint. Nothing was sent."""
    return AttemptError(CONNECT_FAILURE, ThriftConnectError(f"cannot connect to {address}: {why}"))


def speaks_nothing(address: str) -> AttemptError:
    """The endpoint answered no probe. Nothing was sent."""
    message = (
        f"the endpoint {address} answered in none of TTHeader, THeader, framed and unframed Thrift:"
        " is it a Thrift server? Say what it speaks with wire=…"
    )
    return AttemptError(CONNECT_FAILURE, BadReplyError(message))


def silent(address: str, limit_s: float | None) -> AttemptError:
    """The time was over before the endpoint said what it speaks. Nothing was sent."""
    spent = "" if limit_s is None else f" within {limit_s:g} s"
    message = f"{address} did not say{spent} which Thrift it speaks; the call was not sent"
    return AttemptError(TIMEOUT, ThriftTimeoutError(message))


def never_sent(address: str, why: object) -> AttemptError:
    """A new connection ended before it took a byte."""
    lost = ConnectionLostError(f"{address} closed the connection before the call was sent: {why}")
    return AttemptError(RESET_BEFORE_REQUEST, lost)


def lost(path: str, address: str, why: object) -> AttemptError:
    """The connection ended between call and reply."""
    message = f"no reply to {path}: the connection to {address} ended: {why}"
    return AttemptError(RESET, ConnectionLostError(message))


def bad_reply(path: str, address: str, why: object) -> AttemptError:
    """Bytes came that are no reply."""
    return AttemptError(RESET, BadReplyError(f"{address} answered {path} with no reply: {why}"))


def expired(path: str, address: str, limit_s: float | None) -> AttemptError:
    """The time of the attempt is over."""
    spent = "" if limit_s is None else f" within {limit_s:g} s"
    return AttemptError(TIMEOUT, ThriftTimeoutError(f"no reply to {path} from {address}{spent}"))


def no_reply(path: str, address: str, limit_s: float | None, error: Exception) -> AttemptError:
    """What happened to the call on its connection, by the error that ended the wait for its
    reply."""
    if isinstance(error, Expired):
        return expired(path, address, limit_s)
    if isinstance(error, OSError):
        return lost(path, address, error)
    return bad_reply(path, address, error)
