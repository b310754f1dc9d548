"""One type's subscription in state of the world: every request names all that is wanted.

Rules: Envoy's xds_protocol.rst; the tests in tests/xds name each. Driven by `server_state.Stream`.
"""

from __future__ import annotations

from collections.abc import Mapping

from meltemi.xds.discovery import SETS, WILDCARD, SotwRequest
from meltemi.xds.resource import Resource
from meltemi.xds.server_state import Ledger, LimitError, Limits, Payload, version_of_set


class SotwSubscription:
    """See server_state.Subscription."""

    def __init__(
        self,
        type_url: str,
        limits: Limits | None = None,
        *,
        all_there_is: bool = False,
        late_names: bool = False,
    ) -> None:
        """`all_there_is`: whatever is named, everything is meant, as Istio answers for listeners; a
        new name asks for it again. `late_names`: one is taken from an answer to an older response
        too."""
        self.ledger = Ledger(max_unanswered=1)  # an answer to an older response says nothing
        self._limits = limits or Limits()
        self._all, self._late_names = all_there_is, late_names
        self._whole = type_url in SETS
        """Whether each response holds everything, so that absence deletes."""
        self._may_be_unnamed = self._whole
        """Until a name was seen, a request without names asks for everything."""
        self._names: frozenset[str] = frozenset()
        self._lapsed: frozenset[str] = frozenset()
        """Names that a request which came too late left out: the node may have dropped them."""
        self._sent: dict[str, Resource] = {}
        """What the node has of us, as far as it still asks for it."""
        self._asked = False
        """A whole response is wanted, even one that says nothing new."""

    def receive(self, request: SotwRequest) -> None:
        self.ledger.answer(request.nonce, request.error)
        names = frozenset(request.names)
        check_names(names, self._limits)
        if names:
            self._may_be_unnamed = False
        elif self._may_be_unnamed:
            names = frozenset({WILDCARD})
        if request.nonce and self.ledger.latest and request.nonce != self.ledger.latest:
            # Answers an older response: the answer to the latest will say what the node wants.
            if not self._late_names:
                self._lapsed |= self._names - names
                return
            names |= self._names
        added = (names - self._names) | (names & self._lapsed)
        self._names, self._lapsed = names, frozenset()
        for name in [name for name in self._sent if not self._wants(name)]:
            del self._sent[name]
            self.ledger.forget(name)
        if self._whole:
            self._asked = self._asked or bool(added)
        elif WILDCARD in added:
            self._sent.clear()
        else:
            for name in added:
                self._sent.pop(name, None)

    def due(
        self, view: Mapping[str, Resource], *, only_asked: bool, keep_removed: bool
    ) -> Payload | None:
        named = (name for name in self._names if name in view)
        wanted = {name: view[name] for name in named} if self.asks_by_name() else view
        if self._whole:
            return self._due_whole(wanted, only_asked, keep_removed)
        changed = [
            resource
            for name, resource in wanted.items()
            if (sent := self._sent.get(name)) is None
            or (sent.version != resource.version and not only_asked)
        ]
        if not changed:
            return None
        return Payload(tuple(changed), version_of_set(wanted.values()))

    def _due_whole(
        self, wanted: Mapping[str, Resource], only_asked: bool, keep_removed: bool
    ) -> Payload | None:
        if not self._asked and (only_asked or not (self._names or self._sent)):
            return None
        content = dict(wanted)
        if keep_removed:
            content = {**self._sent, **content}
        if not self._asked and _versions(content) == _versions(self._sent):
            return None
        return Payload(tuple(content.values()), version_of_set(content.values()))

    def send(self, payload: Payload, nonce: str, now: float) -> None:
        self.ledger.send(nonce, payload, now)
        self._asked = False
        sent = {resource.name: resource for resource in payload.resources}
        if self._whole:
            for name in self._sent.keys() - sent.keys():
                self.ledger.forget(name)
            self._sent = sent
        else:
            self._sent.update(sent)

    def size(self) -> int:
        return len(self._names)

    def held(self) -> int:
        return len(self._sent)

    def asks_by_name(self) -> bool:
        return WILDCARD not in self._names and not (self._all and self._names)

    def _wants(self, name: str) -> bool:
        return not self.asks_by_name() or name in self._names


def check_names(names: frozenset[str], limits: Limits) -> None:
    """Raises LimitError for a name that is too long."""
    for name in names:
        if len(name) > limits.name_bytes or len(name.encode()) > limits.name_bytes:
            raise LimitError(f"a name may have {limits.name_bytes} bytes: {name[:64]}...")


def _versions(resources: Mapping[str, Resource]) -> dict[str, str]:
    return {name: resource.version for name, resource in resources.items()}
