"""What a call carries from its caller's context, and the context that a callee makes of it.

All of it lives in OpenTelemetry's context: the current span, the baggage, the metainfo. None of it
asks whether a span is sampled, whether an SDK is installed or tracing is on: a lane must hold for
requests that nobody traces.

Clients ask `outgoing` once a call; servers attach what `incoming` gives. `handoff` takes a context
over to threads, executors and queues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import unquote, unquote_plus

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from meltemi.proxyless import baggage, metainfo

Headers = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]

_TRACE = TraceContextTextMapPropagator()
_PLACE = "_meltemi_outgoing"  # of an Outgoing on its context, which never changes
_OTHER_BAGGAGE = (("ot-baggage-", unquote), ("uberctx-", unquote_plus))  # OpenTracing's, Jaeger's
_OTHER_PREFIXES = tuple(prefix for prefix, _ in _OTHER_BAGGAGE)
_NOTHING: Mapping[str, str] = MappingProxyType({})
# Headers that HTTP and gRPC both carry: gRPC's names, and values of visible ASCII and blanks.
_NAME = re.compile(r"[a-z0-9_.-]+").fullmatch
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?").fullmatch


class Outgoing:
    """What a call made now carries. Immutable; its forms are made when first asked for.

    `headers`: traceparent, tracestate and baggage, in lower case, those that there are.
    `transient`, `persistent`: the metainfo by its own keys. Baggage is among the persistent too:
    so it outlives a hop through a Kitex service that has no OpenTelemetry.
    """

    __slots__ = ("_grpc", "_http", "_thrift", "baggage", "headers", "persistent", "transient")

    def __init__(self, trace: Mapping[str, str], baggage: str, info: metainfo.MetaInfo) -> None:
        self.baggage = baggage
        headers = tuple(trace.items())
        self.headers = (*headers, ("baggage", baggage)) if baggage else headers
        self.transient = info.transient
        self.persistent = (
            MappingProxyType({**info.persistent, "baggage": baggage})
            if baggage
            else info.persistent
        )
        self._http: tuple[tuple[str, str], ...] | None = None
        self._grpc: tuple[tuple[str, str], ...] | None = None
        self._thrift: Mapping[str, str] | None = None

    @property
    def http(self) -> tuple[tuple[str, str], ...]:
        """Headers of an HTTP request: W3C's own, and the metainfo as `rpc-transit-`, …

        Metainfo that no header can be made of (Thrift's are any bytes) stays here: it would make
        the request fail, or another of it."""
        if self._http is None:
            self._http = self.headers + self._metainfo_headers()
        return self._http

    @property
    def grpc(self) -> tuple[tuple[str, str], ...]:
        """Metadata of a gRPC call: as `http`, and W3C's once more where Kitex reads them."""
        if self._grpc is None:
            prefix = metainfo.HTTP_TRANSIENT_PREFIX
            doubled = tuple((prefix + name, value) for name, value in self.headers)
            texts = [pair for pair in self._metainfo_headers() if not pair[0].endswith("-bin")]
            self._grpc = (*self.headers, *doubled, *texts)
        return self._grpc

    @property
    def thrift(self) -> Mapping[str, str]:
        """String pairs of a TTHeader or THeader, as Kitex names them."""
        if self._thrift is None:
            prefix = metainfo.TRANSIENT_PREFIX
            pairs = {prefix + name: value for name, value in self.headers}
            pairs |= {prefix + key: value for key, value in self.transient.items()}
            prefix = metainfo.PERSISTENT_PREFIX
            pairs |= {prefix + key: value for key, value in self.persistent.items()}
            self._thrift = MappingProxyType(pairs)
        return self._thrift

    def _metainfo_headers(self) -> tuple[tuple[str, str], ...]:
        pairs = [
            (metainfo.HTTP_TRANSIENT_PREFIX + metainfo.header_name(key), value)
            for key, value in self.transient.items()
        ]
        pairs += [
            (metainfo.HTTP_PERSISTENT_PREFIX + metainfo.header_name(key), value)
            for key, value in self.persistent.items()
            if key not in metainfo.RESERVED
        ]
        return tuple((name, value) for name, value in pairs if _NAME(name) and _VALUE(value))


def outgoing(context: Context | None = None, span: Span | None = None) -> Outgoing:
    """What a call made in `context` carries, by default in OpenTelemetry's current one.

    `span` is the span of the call itself, where it has one. The answer for a context is made once.
    """
    if context is None:
        context = get_current()
    found: Outgoing | None = getattr(context, _PLACE, None)
    if found is None:
        found = Outgoing(
            _trace_headers(get_current_span(context)),
            baggage.formatted(baggage.current(context)),
            metainfo.held(context),
        )
        setattr(context, _PLACE, found)
    if span is None:
        return found
    return Outgoing(_trace_headers(span), found.baggage, metainfo.held(context))


def _trace_headers(span: Span) -> dict[str, str]:
    """As OpenTelemetry's own propagator writes them, which asks a context for the span."""
    of = span.get_span_context()
    if not of.is_valid:
        return {}
    trace = f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}"
    if of.trace_state:
        return {"traceparent": trace, "tracestate": of.trace_state.to_header()}
    return {"traceparent": trace}


def is_read(name: str) -> bool:
    """Whether `incoming` looks at headers of this name."""
    name = name.lower()
    return name in metainfo.RESERVED or name.startswith((*_OTHER_PREFIXES, "rpc-", "rpc_"))


def incoming(
    headers: Headers = (),
    transient: Mapping[str, str] = _NOTHING,
    persistent: Mapping[str, str] = _NOTHING,
    context: Context | None = None,
) -> Context:
    """The context of a request that came with these, for a server to attach while it works.

    `headers` are those of HTTP, gRPC, a queue, or the string pairs of a TTHeader: names in any
    case, `RPC_TRANSIT_`, `rpc-transit-` and the persistent ones among them. `transient` and
    `persistent` are further metainfo, by its own keys. W3C's headers are taken from the headers
    first, then from transient, then from persistent metainfo; `ot-baggage-*` and `uberctx-*` add
    the baggage that these lack.

    Baggage and metainfo of `context` (by default the current one) do not stay: a request has what
    it came with. Its span stays where it already continues the trace that came.
    """
    if context is None:
        context = get_current()
    received = _Received()
    received.read(headers, transient, persistent)
    if (
        received.nothing
        and not baggage.current(context)
        and metainfo.held(context) is metainfo.NONE
    ):
        return context
    context = received.trace_in(context)
    context = baggage.replaced(received.members(), context)
    info = received.metainfo()
    if info != metainfo.NONE or metainfo.held(context) != metainfo.NONE:
        context = metainfo.with_held(info, context)
    return context


class _Received:
    """Sorts what came with one request."""

    def __init__(self) -> None:
        self.plain: dict[str, list[str]] = {}  # by lower-case name
        self.transient: dict[str, str] = {}
        self.persistent: dict[str, str] = {}
        self._carried: dict[str, str] | None = None  # the metainfo, as headers are named

    @property
    def nothing(self) -> bool:
        return not (self.plain or self.transient or self.persistent)

    def read(
        self, headers: Headers, transient: Mapping[str, str], persistent: Mapping[str, str]
    ) -> None:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        for name, value in pairs:
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if value:
                self._sort(name, value)
        self.transient.update((key, value) for key, value in transient.items() if key and value)
        self.persistent.update((key, value) for key, value in persistent.items() if key and value)

    def _sort(self, name: str, value: str) -> None:
        if name.startswith("RPC_"):
            for prefix, values in (
                (metainfo.UPSTREAM_PREFIX, self.transient),
                (metainfo.TRANSIENT_PREFIX, self.transient),
                (metainfo.PERSISTENT_PREFIX, self.persistent),
            ):
                if name.startswith(prefix):
                    if len(name) > len(prefix):
                        values[name[len(prefix) :]] = value
                    return
        name = name.lower()
        if name.startswith("rpc-"):
            for prefix, values in (
                (metainfo.HTTP_TRANSIENT_PREFIX, self.transient),
                (metainfo.HTTP_PERSISTENT_PREFIX, self.persistent),
            ):
                if name.startswith(prefix):
                    if len(name) > len(prefix):
                        values[metainfo.key_of_header(name[len(prefix) :])] = value
                    return
        self.plain.setdefault(name, []).append(value)

    def header(self, name: str) -> str | None:
        """A header of W3C, wherever it travelled; several of one name are one list."""
        if name in self.plain:
            return ",".join(self.plain[name])
        if self._carried is None:
            carried: dict[str, str] = {}
            for values in (self.transient, self.persistent):
                for key, value in values.items():
                    carried.setdefault(metainfo.header_name(key), value)
            self._carried = carried
        return self._carried.get(name)

    def trace_in(self, context: Context) -> Context:
        traceparent = self.header("traceparent")
        if traceparent is None:
            return context
        carrier = {"traceparent": traceparent}
        if (tracestate := self.header("tracestate")) is not None:
            carrier["tracestate"] = tracestate
        came = _TRACE.extract(carrier, context)
        here = get_current_span(context).get_span_context()
        continued = here.trace_id == get_current_span(came).get_span_context().trace_id
        return context if continued and not here.is_remote else came

    def members(self) -> Mapping[str, object]:
        header = self.header("baggage")
        members: Mapping[str, object] = {} if header is None else baggage.parse(header)
        others = {}
        for name, values in (self.plain | _one_each(self.transient)).items():
            if not name.startswith(_OTHER_PREFIXES):
                continue
            for prefix, decoded in _OTHER_BAGGAGE:
                key = name[len(prefix) :]
                if name.startswith(prefix) and key and key not in members:
                    others[key] = baggage.Value(decoded(values[0]))
        return {**members, **others} if others else members

    def metainfo(self) -> metainfo.MetaInfo:
        if not self.transient and not self.persistent:
            return metainfo.NONE
        return metainfo.MetaInfo(persistent=_own(self.persistent), received=_own(self.transient))


def _one_each(transient: Mapping[str, str]) -> dict[str, list[str]]:
    return {metainfo.header_name(key): [value] for key, value in transient.items()}


def _own(values: Mapping[str, str]) -> Mapping[str, str]:
    """The metainfo that has no other place in the context."""
    return MappingProxyType(
        {
            key: value
            for key, value in values.items()
            if metainfo.header_name(key) not in metainfo.RESERVED
        }
    )
