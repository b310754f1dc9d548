"""The way of a request, read from the spans of its trace.

A hop is a request that a service received: its SERVER (or CONSUMER) span. The CLIENT span that led
there says what its caller knew: the lane of the endpoint that answered. A call whose server
exported no span is a hop too, by what the caller's span says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from meltemi.traces.spans import Kind, Span

RECEIVES = (Kind.SERVER, Kind.CONSUMER)
SENDS = (Kind.CLIENT, Kind.PRODUCER)
HTTP = frozenset({"http.request.method", "http.status_code", "http.url", "url.full", "url.path"})


@dataclass(frozen=True, slots=True)
class Hop:
    """One request that a service received."""

    id: str
    """Of its span."""
    parent: str
    """Id of the hop whose service sent it; "" where nobody of the trace did."""
    service: str
    version: str
    instance: str
    name: str
    lane: str | None
    """The lane that answered, "baseline" for none; None where nobody says."""
    mark: str | None
    """The lane that the request asked for."""
    start: int
    """Nanoseconds since 1970."""
    duration: int
    """Nanoseconds."""
    protocol: str
    path: str
    """Of an HTTP request, without its query; else ""."""
    error: str | None
    traced: bool = True
    """False where only the caller tells of it."""


@dataclass(frozen=True, slots=True)
class Way:
    """The hops of a trace: each after the one that sent it, then by time."""

    hops: tuple[Hop, ...] = ()
    complete: bool = False
    """Whether no span that another one names is missing, and every call that did not fail has its
    server's span. Spans come late: what is not complete may become so."""


def way(spans: Mapping[str, Span]) -> Way:
    """The way that the spans of one trace, by id, tell of."""
    callers = {span.id: _caller(span, spans) for span in spans.values()}
    received = [span for span in spans.values() if span.kind in RECEIVES]
    # below a call: its server's span, or the span of a client that it is made of
    answered = {span.parent for span in spans.values() if span.kind in (*RECEIVES, *SENDS)}
    unanswered = [span for span in spans.values() if span.kind in SENDS and span.id not in answered]
    hops = [_received(span, _sender(span, spans), callers[span.id]) for span in received]
    hops += [_only_sent(span, callers[span.id]) for span in unanswered]
    missing = any(span.parent and span.parent not in spans for span in spans.values())
    awaited = any(span.error is None for span in unanswered)
    return Way(_in_order(hops), bool(received) and not missing and not awaited)


def _caller(span: Span, spans: Mapping[str, Span]) -> str:
    """Id of the nearest hop above a span; "" where none is."""
    seen = {span.id}
    above = spans.get(span.parent)
    while above is not None and above.id not in seen:
        if above.kind in RECEIVES:
            return above.id
        seen.add(above.id)
        above = spans.get(above.parent)
    return ""


def _sender(span: Span, spans: Mapping[str, Span]) -> Span | None:
    """The span that sent what this one received."""
    above = spans.get(span.parent)
    return above if above is not None and above.kind in SENDS else None


def _received(span: Span, sender: Span | None, caller: str) -> Hop:
    sent: Mapping[str, str] = sender.attributes if sender is not None else {}
    # a server that names a peer is a proxy: its lane and mark are those of whom it asked
    own: Mapping[str, str] = {} if "peer.service" in span.attributes else span.attributes
    return Hop(
        id=span.id,
        parent=caller,
        service=span.source.service,
        version=span.source.version,
        instance=span.source.instance,
        name=span.name,
        lane=sent.get("meltemi.lane") or own.get("meltemi.lane") or None,
        mark=sent.get("meltemi.mark") or own.get("meltemi.mark") or None,
        start=span.start,
        duration=span.end - span.start,
        protocol=_protocol(span.attributes) or _protocol(sent),
        path=_path(span.attributes) or _path(sent),
        error=_error(span),
    )


def _only_sent(span: Span, caller: str) -> Hop:
    said = span.attributes
    named = (said.get(name) for name in ("meltemi.peer.app", "peer.service", "server.address"))
    return Hop(
        id=span.id,
        parent=caller,
        service=next(filter(None, named), "") or said.get("rpc.service") or "unknown_service",
        version=said.get("meltemi.peer.version", ""),
        instance=said.get("meltemi.peer.workload", ""),
        name=span.name,
        lane=said.get("meltemi.lane") or None,
        mark=said.get("meltemi.mark") or None,
        start=span.start,
        duration=span.end - span.start,
        protocol=_protocol(said),
        path=_path(said),
        error=_error(span),
        traced=False,
    )


def _error(span: Span) -> str | None:
    if span.error == "error":
        return span.attributes.get("error.type") or span.error
    return span.error


def _protocol(attributes: Mapping[str, str]) -> str:
    if system := attributes.get("rpc.system") or attributes.get("rpc.system.name"):
        return system
    if not attributes.keys().isdisjoint(HTTP):
        return "http"
    return attributes.get("network.protocol.name", "")


def _path(attributes: Mapping[str, str]) -> str:
    """By OpenTelemetry's conventions, those of before 2023 too (which Envoy has)."""
    for name in ("url.path", "http.target", "url.full", "http.url"):
        if url := attributes.get(name):
            try:
                return urlsplit(url).path
            except ValueError:
                return ""
    return ""


def _in_order(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """Depth first, earlier first. A hop in a circle of parents, which no clock of ours made, is a
    root of its own."""
    by_time = sorted(hops, key=lambda hop: (hop.start, hop.id))
    below: dict[str, list[Hop]] = {}
    for hop in by_time:
        below.setdefault(hop.parent, []).append(hop)
    ordered: dict[str, Hop] = {}
    pending = list(reversed(below.get("", ())))
    for start in (None, *by_time):
        if start is not None and start.id not in ordered:
            pending.append(start)
        while pending:
            hop = pending.pop()
            if hop.id not in ordered:
                ordered[hop.id] = hop
                pending.extend(reversed(below.get(hop.id, ())))
    return tuple(ordered.values())
