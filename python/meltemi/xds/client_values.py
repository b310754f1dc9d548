"""What the client's state machines hold, and what they hand to their shells as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from meltemi.xds.references import Reference
from meltemi.xds.resource import Resource


@dataclass(frozen=True, slots=True)
class Update:
    """What a response changes. It may be nothing: `applied` is due all the same."""

    type_url: str
    version: str
    resources: tuple[Resource, ...] = ()
    """Those that differ from what is held."""
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """An accepted resource."""

    resource: Resource
    since: float
    """When it last changed, in the caller's clock."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """What is known of one type."""

    version: str
    """Of the last response that was accepted whole."""
    resources: int
    awaited: tuple[str, ...]
    """Names that were asked for and have not come yet."""
    missing: tuple[str, ...]
    """Names that do not exist, as far as the server says or is silent."""
    error: str | None
    """Why the last response was refused, all of it or some resources; None when it was not."""


@dataclass(slots=True)
class TypeState:
    type_url: str
    everything: bool
    """Asked for whole, without names."""
    names: frozenset[str] = frozenset()
    held: dict[str, Held] = field(default_factory=dict)
    children: dict[str, frozenset[Reference]] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)
    """Names that have not come on this stream nor before."""
    passed: set[str] = field(default_factory=set)
    """Those of them that a response for all names of the type came without."""
    missing: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """Why: of names whose last version was refused."""
    version: str = ""
    nonce: str = ""
    """Of the last response that was answered on this stream."""
    asked: bool = False
    """Whether this stream was asked for the type."""
    error: str | None = None


@dataclass(slots=True)
class Step:
    """A response between `next_update` and `applied`."""

    update: Update
    nonce: str
    same: tuple[Resource, ...] = ()
    """Resources whose body is what is held."""
    children: dict[str, frozenset[Reference]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0
    missing: tuple[str, ...] = ()
    unknown_type: bool = False
    no_answer: bool = False
    """Comes from ourselves: what nothing needs any more."""
