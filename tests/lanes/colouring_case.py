"""A request at the edge and what colouring makes of its headers; words to write many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meltemi import config
from meltemi.config.lanes import lane_groups as of_objects
from meltemi.model import LaneGroup

Headers = Sequence[tuple[str, str]]
"""Names in any case; values as latin-1 makes them of the bytes on the wire."""

STRANGER: Final = "127.0.0.7"
TRUSTED: Final = "127.0.9.1"
MARK: Final = ("baggage", "env=dev")


@dataclass(frozen=True, slots=True)
class Case:
    """`groups` is YAML: LaneGroups and Lanes."""

    name: str
    groups: str
    before: Headers
    after: Headers
    method: str = "GET"
    path: str = "/"
    """With its query, as it is on the wire."""
    source: str = STRANGER
    """Of the TCP connection. Loopback, so that a test can come from it."""
    not_by: frozenset[str] = frozenset()
    """`wsgi`: servers join headers of one name. `envoy`: it writes x-forwarded-for itself."""


def lane_groups(text: str) -> tuple[LaneGroup, ...]:
    """The groups of YAML documents. Raises ValueError for what `meltemi validate` refuses."""
    loaded = config.load([config.Source("case.yaml", text)], "shop")
    if not loaded.valid:
        raise ValueError("; ".join(map(str, loaded.issues)))
    return of_objects(loaded.objects)


def by_name(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Values by name in lower case, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def group(more: str = "", *, name: str = "books", key: str = "env") -> str:
    return f"""---
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {{name: {name}, namespace: shop}}
spec:
  services: [{{host: {name}}}]
  baggageKey: {key}
  {more}
"""


def lane(entry: str = "", more: str = "", *, name: str = "dev", of: str = "books") -> str:
    """`entry`: its elements, each in braces."""
    return f"""---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {{name: {name}, namespace: shop}}
spec: {{group: {of}, entry: [{entry}]{", " if more else ""}{more}}}
"""


def books(entry: str = "") -> str:
    """A group with the lane dev."""
    return group() + lane(entry)
