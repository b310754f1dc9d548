"""One type's subscription in delta: requests add and take away names, responses hold changes only.

Rules: Envoy's xds_protocol.rst; the tests in tests/xds name each. Driven by `server_state.Stream`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meltemi.xds.differences import Differences
from meltemi.xds.discovery import SETS, WILDCARD, DeltaRequest
from meltemi.xds.resource import Resource
from meltemi.xds.server_sotw import check_names
from meltemi.xds.server_state import Ledger, Limits, Payload


class DeltaSubscription:
    """See server_state.Subscription. `differences` are those of all streams of the server."""

    def __init__(
        self,
        type_url: str,
        limits: Limits | None = None,
        differences: Differences | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._limits = limits or Limits()
        self._differences = differences or Differences()
        self._may_be_unnamed = type_url in SETS
        self._first = True
        self._all = False
        self._names: set[str] = set()
        self._told: dict[str, str | None] = {}
        """The version that the node was told last, by name; None: that it does not exist."""
        self._owed: set[str] = set()
        """Names that are answered even when nothing about them changed."""
        self._greet = False
        """A first answer is owed, even an empty one: Envoy starts only when it came."""
        self._seen: Mapping[str, Resource] = {}
        """What the source had when the node was compared with it last."""
        self._open: set[str] | None = None
        """Names that the node may lack something of in `_seen`; None: any name."""

    def receive(self, request: DeltaRequest) -> None:
        self.ledger.answer(request.nonce, request.error)
        check_names(frozenset(request.subscribe) | request.initial_versions.keys(), self._limits)
        for name in request.unsubscribe:
            self._unsubscribe(name)
        unnamed = not request.subscribe and not request.unsubscribe and self._may_be_unnamed
        if self._first and unnamed:
            self._subscribe_all(known=bool(request.initial_versions))
        for name in request.subscribe:
            if name == WILDCARD:
                self._subscribe_all(known=bool(request.initial_versions))
            else:
                self._names.add(name)
                if not (self._first and name in request.initial_versions):
                    self._owed.add(name)
        if self._first:
            self._told = {
                name: version
                for name, version in request.initial_versions.items()
                if self._wants(name)
            }
        self._first = False
        if self._open is not None:
            self._open.update(request.subscribe, request.unsubscribe)

    def _subscribe_all(self, *, known: bool) -> None:
        self._greet = self._greet or not (self._all or known)
        self._all = True
        self._open = None

    def _unsubscribe(self, name: str) -> None:
        if name == WILDCARD:
            self._all = False
            for other in [other for other in self._told if other not in self._names]:
                self._forget(other)
        elif name in self._names:
            self._names.discard(name)
            if self._all:
                self._owed.add(name)  # the node may have dropped what the wildcard still covers
            else:
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._told.pop(name, None)
        self._owed.discard(name)
        self.ledger.forget(name)

    def due(
        self, view: Mapping[str, Resource], *, only_asked: bool, keep_removed: bool
    ) -> Payload | None:
        if view is not self._seen:
            self._compare_with(view)
        if self._open is not None and not (self._open or self._owed or self._greet):
            return None
        changed = tuple(self._changed(view, only_asked))
        removed = tuple(self._removed(view, only_asked or keep_removed))
        if not changed and not removed and not self._greet:
            if not (only_asked or keep_removed):
                self._open = set()
            return None
        return Payload(changed, self._differences.version(view), removed)

    def _compare_with(self, view: Mapping[str, Resource]) -> None:
        """Opens the names that are not as they were when it was looked last."""
        if self._open is not None:
            self._open |= self._differences.names(self._seen, view)
            if len(self._open) > 2 * len(view):
                self._open = None  # a node that never gets on: what is remembered stays bounded
        self._seen = view

    def _changed(self, view: Mapping[str, Resource], only_asked: bool) -> Iterator[Resource]:
        wanted: Iterable[str] = view if self._all else self._names
        if self._open is not None:
            wanted = [name for name in self._open | self._owed if self._wants(name)]
        for name in wanted:
            resource = view.get(name)
            if resource is None:
                continue
            asked = name in self._owed or (name in self._names and name not in self._told)
            news = self._greet or not only_asked
            if asked or (news and self._told.get(name) != resource.version):
                yield resource

    def _removed(self, view: Mapping[str, Resource], only_owed: bool) -> Iterator[str]:
        for name in self._owed:
            if name not in view:
                yield name
        if not only_owed:
            for name in self._told if self._open is None else self._open:
                version = self._told.get(name)
                if version is not None and name not in view and name not in self._owed:
                    yield name

    def send(self, payload: Payload, nonce: str, now: float) -> None:
        self.ledger.send(nonce, payload, now)
        self._greet = False
        for resource in payload.resources:
            self._told[resource.name] = resource.version
            self._owed.discard(resource.name)
        for name in payload.removed:
            self._owed.discard(name)
            if name in self._names:
                self._told[name] = None
            else:
                self._told.pop(name, None)

        if not self._owed:
            # A set that had thousands of names once is walked through as if it still had them.
            self._owed = set()

    def size(self) -> int:
        return len(self._names)

    def held(self) -> int:
        return sum(version is not None for version in self._told.values())

    def asks_by_name(self) -> bool:
        return not self._all

    def _wants(self, name: str) -> bool:
        return self._all or name in self._names
