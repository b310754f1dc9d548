"""Traces in memory, bounded: by number, by spans, by age. The newest are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from meltemi.traces.graph import Graph, graph
from meltemi.traces.hops import Way, way
from meltemi.traces.spans import Span


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store may hold; some 1 KB a span."""

    traces: int = 2_000
    spans: int = 40_000
    spans_of_a_trace: int = 512
    age_s: float = 1800.0


DEFAULT: Final = Limits()
SETTLED_S: Final = 3.0
"""After this, spans that are missing are not waited for: the graph has what came."""


@dataclass(slots=True)
class _Trace:
    began: float
    spans: dict[str, Span] = field(default_factory=dict)
    way: Way | None = None


class Store:
    """Times are seconds of one clock that only grows."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._spans = 0

    def add(self, spans: Iterable[Span], now: float) -> int:
        """Keeps spans; a span that is there already is replaced. How many a full trace refused."""
        refused = 0
        for span in spans:
            trace = self._traces.get(span.trace)
            if trace is None:
                trace = self._traces[span.trace] = _Trace(now)
            if span.id not in trace.spans:
                if len(trace.spans) >= self._limits.spans_of_a_trace:
                    refused += 1
                    continue
                self._spans += 1
            trace.spans[span.id] = span
            trace.way = None
        self._trim(now)
        return refused

    def way(self, trace_id: str, now: float) -> Way | None:
        """The way of a request; None where nothing is known of its trace."""
        self._trim(now)
        trace = self._traces.get(trace_id)
        return None if trace is None else _way(trace)

    def graph(self, seconds: float, now: float, path: str = "") -> Graph:
        """Of the traces that began at most so many seconds ago, and are complete or settled; where
        `path` is not "", of those with a request for a path that begins so."""
        self._trim(now)
        recent = [trace for trace in self._traces.values() if trace.began >= now - seconds]
        return graph(
            _way(trace).hops
            for trace in recent
            if (trace.began <= now - SETTLED_S or _way(trace).complete)
            and (not path or any(hop.path.startswith(path) for hop in _way(trace).hops))
        )

    def counts(self) -> tuple[int, int]:
        """How many traces and spans are held."""
        return len(self._traces), self._spans

    def _trim(self, now: float) -> None:
        """Traces are in the order in which they began: the oldest go first."""
        limits = self._limits
        while self._traces:
            oldest = next(iter(self._traces.values()))
            over = len(self._traces) > limits.traces or self._spans > limits.spans
            if not over and oldest.began >= now - limits.age_s:
                return
            self._traces.popitem(last=False)
            self._spans -= len(oldest.spans)


def _way(trace: _Trace) -> Way:
    if trace.way is None:
        trace.way = way(trace.spans)
    return trace.way
