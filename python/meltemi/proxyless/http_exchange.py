"""One HTTP request over a mesh, from its routing to the end of its response's body.

It does no I/O: `httpx_client` sends what `attempt` gives, sync or async, and tells what became of
it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx

from meltemi.engine import Call
from meltemi.proxyless import baggage
from meltemi.proxyless.calls import Deadline, Pair, changed
from meltemi.proxyless.context import Outgoing, outgoing
from meltemi.proxyless.errors import CallTimeoutError, MeltemiError
from meltemi.proxyless.target import Target
from meltemi.proxyless.tracing import http_span

_EXPIRED_S = 0.001  # what is over must fail at its next wait, and 0 would mean "do not block"


class Exchange:
    """One request with its attempts."""

    def __init__(self, request: httpx.Request, target: Target) -> None:
        self._request = request
        self._target = target
        self._span = http_span(request.method, _shown(request.url), target.host, target.port)
        self._headers = _with_context(
            request.headers.multi_items(), outgoing() if self._span is None else self._span.outgoing
        )
        self._deadline = Deadline(None)
        self._call: Call | None = None
        self._status: int | None = None
        self._told = False  # the call knows how it ended
        self._tried = ""
        self._body: _Once | None = None
        if not isinstance(request.stream, httpx.ByteStream):
            self._body = _Once(request.stream)

    @property
    def path(self) -> str:
        """The path to route by, query included."""
        return self._request.url.raw_path.decode("ascii")

    @property
    def routing_headers(self) -> list[Pair]:
        """What routes may match: the headers and the method."""
        pairs = [(name.lower(), value) for name, value in self._headers if name.lower() != "host"]
        pairs.append((":method", self._request.method))
        return pairs

    @property
    def patience_s(self) -> float | None:
        """How long the caller waits for a way to send: httpx's connect timeout; None: no limit."""
        limits: dict[str, float | None] = self._request.extensions.get("timeout") or {}
        return limits.get("connect")

    def routed(self, call: Call) -> None:
        """`call` is the choice for this request."""
        self._call = call
        self._deadline.routed(call)
        if call.request_changes:
            self._headers = changed(self._headers, call.request_changes)

    def attempt(self) -> httpx.Request:
        """The request to the endpoint of now."""
        call = self._routed_call
        self._deadline.attempt()
        self._tried = f"{call.address}, attempt {call.attempt + 1}"
        host, _, port = call.address.rpartition(":")
        url = self._request.url.copy_with(scheme="http", host=host.strip("[]"), port=int(port))
        extensions = dict(self._request.extensions)
        extensions["timeout"] = _Timeouts(extensions.get("timeout") or {}, self._deadline)
        return httpx.Request(
            self._request.method,
            url,
            headers=self._headers,
            stream=self._request.stream if self._body is None else self._body,
            extensions=extensions,
        )

    def failed(self, error: httpx.TransportError) -> float | None:
        """Seconds until the next attempt after `error`; None: there is none."""
        if isinstance(error, (httpx.PoolTimeout, httpx.LocalProtocolError)):
            return None  # never sent, and no endpoint's fault
        wait_s = self._routed_call.failed(_reason(error))
        impatient = isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout))
        if impatient and not self._deadline.tried_over:
            return None  # the caller's own timeout, not that of an attempt
        return self._allowed(wait_s)

    def again(self, status: int) -> float | None:
        """Seconds until the next attempt after an answer with `status`; None: it is the answer."""
        if status < 400 or not self._can_be_sent_again:
            self._status = status
            return None
        wait_s = self._allowed(self._routed_call.failed("status", status))
        if wait_s is None:
            self._status, self._told = status, True
        return wait_s

    def _allowed(self, wait_s: float | None) -> float | None:
        if wait_s is None:
            return None
        if self._can_be_sent_again and self._deadline.allows(wait_s):
            return wait_s
        self._routed_call.abandoned()
        return None

    @property
    def _can_be_sent_again(self) -> bool:
        return self._body is None or not self._body.begun

    def reported(self, error: httpx.TransportError) -> httpx.TransportError:
        """What the caller is told of `error`."""
        text = str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException) and self._deadline.over:
            text = f"timed out after the route's {self._routed_call.timeout_s:g} s"
        where = f"{self._target.authority} at {self._tried}"
        return type(error)(f"{where}: {text}", request=self._request)

    def response(
        self, response: httpx.Response, body: httpx.SyncByteStream | httpx.AsyncByteStream
    ) -> httpx.Response:
        """`response` as the caller gets it, with `body` for its body."""
        headers = response.headers
        changes = self._routed_call.response_changes
        return httpx.Response(
            response.status_code,
            headers=changed(headers.multi_items(), changes) if changes else headers,
            stream=body,
            extensions=response.extensions,
        )

    def answered_by_route(self, status: int, body: str) -> httpx.Response:
        """The answer that the route itself gives."""
        self._end(status)
        return httpx.Response(status, text=body)

    def check_time(self) -> None:
        """Raises ReadTimeout when the time of the call is up: it ends with the whole response."""
        if self._deadline.over:
            raise httpx.ReadTimeout("the response took too long")

    def broken(self, error: httpx.TransportError) -> httpx.TransportError:
        """`error` came in the middle of a body: it counts, and nothing can be sent again."""
        told = self.reported(error)
        if self._call is not None and not self._told:
            self._call.failed(_reason(error))
        self.over(told)
        return told

    def complete(self) -> None:
        """The response was read or closed."""
        if self._call is not None and self._status is not None:
            if not self._told:
                self._call.succeeded(self._status)
            self._end(self._status)

    def over(self, error: BaseException) -> None:
        """There will be no response."""
        if self._call is not None:
            self._call.abandoned()
        self._end(None, error)

    def _end(self, status: int | None, error: BaseException | None = None) -> None:
        if self._span is not None:
            if status is None:
                self._span.end(self._call, error)
            else:
                word = str(status) if status >= 400 else None
                self._span.end(self._call, word, http__response__status_code=status)
        self._span = self._call = None

    @property
    def _routed_call(self) -> Call:
        assert self._call is not None
        return self._call


class _Once(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that can be sent only once, and knows whether it was begun."""

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self._stream = stream
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        assert isinstance(self._stream, httpx.SyncByteStream)
        yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        assert isinstance(self._stream, httpx.AsyncByteStream)
        async for part in self._stream:
            yield part


class _Timeouts(dict[str, float | None]):
    """The caller's timeouts of single waits, none longer than what the call has left."""

    def __init__(self, own: dict[str, float | None], deadline: Deadline) -> None:
        super().__init__(own)
        self._deadline = deadline

    def get(self, name: str, default: float | None = None) -> float | None:  # type: ignore[override]
        """Seconds that the wait called `name` may take, from now."""
        own = super().get(name, default)
        left_s = self._deadline.left_s()
        if left_s is None:
            return own
        left_s = max(left_s, _EXPIRED_S)
        return left_s if own is None else min(own, left_s)


def target_text(request: httpx.Request) -> str:
    """What `request` names as its target.

    Raises UnsupportedProtocol for https: what leaves the process here is plain HTTP.
    """
    url = request.url
    if url.scheme != "http":
        raise httpx.UnsupportedProtocol(
            f"{url.scheme}://{url.netloc.decode()}: calls through a mesh are http://; for others "
            "use a client without its transport",
            request=request,
        )
    return f"http://{url.netloc.decode('ascii')}"


def unroutable(exchange: Exchange, error: MeltemiError) -> httpx.TransportError:
    """What the caller is told of a request that found no way; ends `exchange`."""
    exchange.over(error)
    kind = httpx.ConnectTimeout if isinstance(error, CallTimeoutError) else httpx.ConnectError
    return kind(str(error), request=exchange._request)


def _with_context(headers: list[Pair], what: Outgoing) -> list[Pair]:
    """`headers` and, behind them, those of the context that they lack."""
    if not what.http:
        return headers
    names = {name.lower() for name, _ in headers}
    for name, value in what.http:
        if name not in names:
            headers.append((name, value))
        elif name == "baggage":
            held = [text for own, text in headers if own.lower() == name]
            headers = [pair for pair in headers if pair[0].lower() != name]
            headers.append((name, baggage.appended(",".join(held), baggage.parse(value))))
    return headers


def _reason(error: httpx.TransportError) -> str:
    """The engine's word for what happened to an attempt."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return "connect-failure"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    return "reset"


def _shown(url: httpx.URL) -> str:
    """`url` without a password."""
    return str(url.copy_with(username=None, password=None)) if url.userinfo else str(url)
