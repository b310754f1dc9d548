"""One gRPC call over a mesh: what it carries, how its attempts are judged, what its caller is told.

It does no I/O; `grpc_channel` and `grpc_aio_channel` send what it says, and tell what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc

from meltemi.engine import Call
from meltemi.proxyless import baggage
from meltemi.proxyless.calls import Deadline, Pair, changed
from meltemi.proxyless.context import Outgoing, outgoing
from meltemi.proxyless.errors import CallTimeoutError, DirectResponseError, MeltemiError
from meltemi.proxyless.target import Target
from meltemi.proxyless.tracing import call_span

Metadata = Sequence[tuple[str, str | bytes]]
Code = grpc.StatusCode

# gRPC's mapping of what an HTTP server answers (doc/http-grpc-status-mapping.md).
_OF_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
# In grpcio's details of what did not come from the server: never sent, or its connection broke.
_NOT_CONNECTED = "failed to connect"
_BROKEN = ("socket closed", "connection reset", "broken pipe", "goaway", "stream removed")
_READY_WAIT_S = (0.1, 1.0)  # first and longest wait for an endpoint, where the caller waits for one


def channel_options(
    authority: str, options: Sequence[tuple[str, object]] | None
) -> list[tuple[str, object]]:
    """Options of the channel to one endpoint: the caller's own, and those that routing needs."""
    return [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),  # the mesh asks only endpoints that are there
        *(options or ()),
        ("grpc.default_authority", authority),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),  # the route decides
        ("grpc.service_config_disable_resolution", 1),
    ]


class Rpc:
    """One call with its attempts."""

    def __init__(
        self,
        target: Target,
        path: str,
        timeout_s: float | None,
        metadata: Metadata | None,
        waits: bool,
    ) -> None:
        self.target = target
        self.path = path
        service, _, method = path.strip("/").rpartition("/")
        self._span = call_span("grpc", service, method, target.host, target.port)
        what = outgoing() if self._span is None else self._span.outgoing
        self._metadata = _with_context(metadata, what)
        self.deadline = Deadline(timeout_s)
        self.call: Call | None = None
        self._ready_wait_s = _READY_WAIT_S[0] if waits else None
        self._last: Call | None = None

    @property
    def routing_headers(self) -> list[Pair]:
        """What routes may match: the metadata that is text."""
        return [(name, value) for name, value in self._metadata if isinstance(value, str)]

    def routed(self, call: Call) -> None:
        """`call` is the choice for this call."""
        self.call = self._last = call
        self.deadline.routed(call)

    def attempt(self) -> tuple[str, Metadata, float | None]:
        """Address, metadata and seconds of the attempt that begins now."""
        assert self.call is not None
        self.deadline.attempt()
        left_s = self.deadline.left_s()
        metadata = self._metadata
        if self.call.request_changes:
            metadata = _changed(metadata, self.call)
        return self.call.address, metadata, None if left_s is None else max(left_s, 0.0)

    def failed(
        self, code: grpc.StatusCode, details: str | None, can_be_sent_again: bool
    ) -> float | None:
        """Seconds until the next attempt after one ended with `code`; None: the call has ended so.

        Where the next attempt has to be routed anew, `call` is None.
        """
        call = self.call
        assert call is not None
        said = (details or "").lower()
        unsent = code is Code.UNAVAILABLE and _NOT_CONNECTED in said
        if unsent:
            wait_s = call.failed("connect-failure")
        else:
            status = None  # as HTTP counts it, where no status of gRPC came from the server
            if code is Code.DEADLINE_EXCEEDED and (self.deadline.tried_over or self.deadline.over):
                status = 504
            elif code is Code.UNAVAILABLE and any(word in said for word in _BROKEN):
                status = 503
            wait_s = call.failed(code.name.lower().replace("_", "-"), status)
        if wait_s is not None and can_be_sent_again and self.deadline.allows(wait_s):
            return wait_s
        call.abandoned()
        return self._wait_for_ready() if unsent and can_be_sent_again else None

    def unroutable(self) -> float | None:
        """Seconds until it is worth asking for a route again; None: the call has failed."""
        return self._wait_for_ready()

    def _wait_for_ready(self) -> float | None:
        wait_s = self._ready_wait_s
        if wait_s is None or not self.deadline.allows(wait_s):
            return None
        self.call = None
        self._ready_wait_s = min(wait_s * 2, _READY_WAIT_S[1])
        return wait_s

    def succeeded(self) -> None:
        """The call ended with OK."""
        if self.call is not None:
            self.call.succeeded(200)
        self._end(Code.OK)

    def ended(self, code: grpc.StatusCode, error: BaseException | None = None) -> None:
        """The call ended with `code`, and `failed` or `unroutable` said that it does."""
        self._end(code, error)

    def abandoned(self) -> None:
        """The caller left."""
        if self.call is not None:
            self.call.abandoned()
        self._end(Code.CANCELLED)

    def _end(self, code: grpc.StatusCode, error: BaseException | None = None) -> None:
        if self._span is not None:
            what = None if code is Code.OK else error or code.name
            self._span.end(self._last, what, rpc__grpc__status_code=code.value[0])
        self._span = self.call = None

    def received(self, metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
        """Initial metadata as the caller gets it: with the route's changes."""
        call = self._last
        if call is None or not call.response_changes:
            return tuple(metadata)
        return tuple(changed(metadata, call.response_changes))  # type: ignore[arg-type]


def status_of(error: MeltemiError) -> tuple[grpc.StatusCode, str]:
    """The status by which a gRPC caller is told of `error`."""
    if isinstance(error, DirectResponseError):
        return _OF_HTTP.get(error.status, Code.UNKNOWN), str(error)
    if isinstance(error, CallTimeoutError):
        return Code.DEADLINE_EXCEEDED, str(error)
    return Code.UNAVAILABLE, str(error)


def _changed(metadata: Metadata, call: Call) -> Metadata:
    changes = [(how, name.lower(), value) for how, name, value in call.request_changes]
    return tuple(changed(metadata, changes))  # type: ignore[arg-type]


def _with_context(metadata: Metadata | None, what: Outgoing) -> Metadata:
    """`metadata` and, behind it, what the context has that it lacks."""
    if not metadata:
        return what.grpc
    if not what.grpc:
        return tuple(metadata)
    own = list(metadata)
    names = {name for name, _ in own}
    for name, value in what.grpc:
        if name not in names:
            own.append((name, value))
        elif name == "baggage":
            held = ",".join(text for key, text in own if key == name and isinstance(text, str))
            own = [pair for pair in own if pair[0] != name]
            own.append((name, baggage.appended(held, baggage.parse(value))))
    return tuple(own)
