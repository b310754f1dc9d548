"""One span, as far as the way of a request is read from it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Kind(enum.IntEnum):
    """OpenTelemetry's kinds of spans, by their numbers on the wire."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Whose span it is: the resource of the process, in OpenTelemetry's words."""

    service: str
    version: str = ""
    instance: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Ids are lower-case hex, `parent` is "" for a root; times are nanoseconds since 1970."""

    trace: str
    id: str
    parent: str
    name: str
    kind: Kind
    start: int
    end: int
    source: Source
    error: str | None = None
    """None where the span ended well; else what it says of its failure, at least "error"."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Those that are read here (`otlp.ATTRIBUTES`), as text."""
