"""What the sidecar holds: resources in force as the xDS client keeps them, and what was refused.

`note` is called for every answer of the stream, in the client's thread, after the engine judged it;
`meltemi.sidecar.dump` and `meltemi.sidecar.admin` read. Messages are parsed only when asked for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from meltemi.xds.client_values import TypeStatus
from meltemi.xds.shell import Accepted

MAX_REFUSED = 1000  # of a type, remembered for the dump: a server may send any number of names


@dataclass(frozen=True, slots=True)
class Refused:
    """The last version of a resource that the engine did not take; what was held before stays."""

    name: str
    version: str
    body: bytes
    tried: float
    """Seconds since the epoch."""
    reason: str


class InForce(Protocol):
    """What the xDS client knows."""

    def resources(self, type_url: str) -> dict[str, Accepted]: ...
    def types(self) -> Mapping[str, TypeStatus]: ...


class Holdings:
    """By type URL."""

    def __init__(self) -> None:
        self.in_force: InForce | None = None
        """Set once, by the assembly: client and holdings know each other."""
        self.update_success: Counter[str] = Counter()
        self.update_rejected: Counter[str] = Counter()
        self._refused: dict[str, dict[str, Refused]] = {}
        self._lock = threading.Lock()

    def note(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
        rejected: Sequence[tuple[str, str]],
        now: float,
    ) -> None:
        """Takes what the engine said (`rejected`: name and reason) to one answer of the stream."""
        reasons = dict(rejected)
        with self._lock:
            refused = self._refused.setdefault(type_url, {})
            for name in (*(name for name, _ in resources), *removed):
                refused.pop(name, None)
            for name, body in resources:
                if name in reasons and len(refused) < MAX_REFUSED:
                    refused[name] = Refused(name, version, body, now, reasons[name])
            (self.update_rejected if reasons else self.update_success)[type_url] += 1

    def accepted(self, type_url: str) -> list[Accepted]:
        """What is in force, by name."""
        if self.in_force is None:
            return []
        found = self.in_force.resources(type_url)
        return [found[name] for name in sorted(found)]

    def refused(self, type_url: str) -> list[Refused]:
        with self._lock:
            found = self._refused.get(type_url, {})
            return [found[name] for name in sorted(found)]

    def version(self, type_url: str) -> str:
        """Of the last answer that was accepted whole; "" before."""
        if self.in_force is None or type_url not in (types := self.in_force.types()):
            return ""
        return types[type_url].version

    def answered(self, type_url: str) -> bool:
        """Whether the server has sent the type at all, be it that there is nothing of it."""
        return bool(self.version(type_url) or self.update_rejected[type_url])

    def awaits(self) -> bool:
        """Whether a resource that another one refers to has yet to come."""
        types = self.in_force.types() if self.in_force is not None else {}
        return any(status.awaited for status in types.values())
