"""One xDS stream at the server, without I/O: what was asked, what was sent, what is due next.

A stream is *asked* for its next response, it is never handed one: `Stream.next` compares what the
node wants with what the source has now. So a node that reads slowly gets the newest state and skips
what lay between, and what a stream remembers is bounded by what its node asked for.

Order: types go out as DELIVERY says. A change of listeners and routes waits until the clusters and
endpoints sent before it were answered; clusters and endpoints that are gone are taken away last,
when the node has answered the listeners and routes that no longer use them (make before break).

Time is an argument, in seconds of any clock. `server` is the shell around this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from meltemi.xds import messages
from meltemi.xds.discovery import DELIVERY, MAX_ERROR_CHARS, USERS, Response
from meltemi.xds.resource import Resource

DESTINATIONS: Final = (messages.CLUSTER, messages.ENDPOINT)
PATIENCE_S: Final = 2.0
"""How long a node may take to answer before others' changes go out regardless. A node that takes
longer is overloaded or never answers; one that waits for it for ever would keep stale rules."""
MAX_KEPT: Final = 1000
"""Clusters and endpoints kept for a node that refuses the routes that would let go of them."""
MAX_UNANSWERED: Final = 64
"""Responses of one type that are remembered until the node answers; the oldest is forgotten."""
MAX_UNANSWERED_NAMES: Final = 20_000
"""Names in those responses together: a node that never answers costs no more than this."""

View = Callable[[str], Mapping[str, Resource]]
"""What the source has now for the stream's node, by type URL. Mappings are never changed in place;
the same object means that nothing changed."""


class LimitError(Exception):
    """A node asked for more than one node may. The stream ends with the reason."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may make the server remember."""

    types: int = 16
    type_url_chars: int = 256
    names: int = 20_000
    """Of all types together."""
    name_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resource that a node refused, and still refuses."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """What a node was sent of one type and what it said to it."""

    sent: str
    """Version of the last response, "" before the first."""
    acknowledged: str
    """Version of the last response that was accepted whole."""
    resources: int
    """How many resources it holds of us."""
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Payload:
    """A response before it has a nonce."""

    resources: tuple[Resource, ...]
    version: str
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sent:
    version: str
    at: float
    names: dict[str, str]
    """Resource's version by name."""


class Ledger:
    """The responses of one type on one stream, and the node's answers."""

    def __init__(self, max_unanswered: int = MAX_UNANSWERED) -> None:
        self.latest = ""
        """Nonce of the newest response."""
        self.sent = ""
        self.sent_at = float("-inf")
        self.acknowledged = ""
        self.refusals: dict[str, Refusal] = {}
        self._unanswered: dict[str, _Sent] = {}
        self._max_unanswered = max_unanswered

    def send(self, nonce: str, payload: Payload, now: float) -> None:
        versions = {resource.name: resource.version for resource in payload.resources}
        self._unanswered[nonce] = _Sent(payload.version, now, versions)
        while self._remembers_too_much():
            del self._unanswered[next(iter(self._unanswered))]
        self.latest, self.sent, self.sent_at = nonce, payload.version, now
        for name in payload.removed:
            self.refusals.pop(name, None)

    def answer(self, nonce: str, error: str | None) -> None:
        """Takes an acknowledgement or a refusal. A nonce that is not (or no longer) known is not
        an answer to anything."""
        sent = self._unanswered.pop(nonce, None)
        if sent is None:
            return
        if error is None:
            self.acknowledged = sent.version
        for name in (*sent.names, ""):
            self.refusals.pop(name, None)
        if error is None:
            return
        # gRFC A46: a refusal lists what is bad, and the rest was applied.
        blamed = [name for name in sent.names if _mentions(error, name)]
        for name in blamed or list(sent.names) or [""]:
            reason = _reason_for(name, error)
            self.refusals[name] = Refusal(name, sent.names.get(name, sent.version), reason)

    def forget(self, name: str) -> None:
        """The node no longer asks for the resource, or it is gone: no refusal of it matters."""
        self.refusals.pop(name, None)

    def _remembers_too_much(self) -> bool:
        count = len(self._unanswered)
        if count <= 1:
            return count > self._max_unanswered
        names = sum(len(sent.names) for sent in self._unanswered.values())
        return count > self._max_unanswered or names > MAX_UNANSWERED_NAMES

    def waits_until(self, now: float) -> float | None:
        """When the patience with the newest unanswered response ends; None when none is."""
        if not self._unanswered:
            return None
        ends = max(sent.at for sent in self._unanswered.values()) + PATIENCE_S
        return ends if ends > now else None


R_contra = TypeVar("R_contra", contravariant=True)
T = TypeVar("T", bound="Asks")


class Asks(Protocol):
    """What requests of both variants have."""

    @property
    def type_url(self) -> str: ...


class Subscription(Protocol[R_contra]):
    """What a node asks of one type, and what it was sent: one for each variant of the protocol."""

    ledger: Ledger

    def receive(self, request: R_contra) -> None:
        """Takes a request: an answer, a change of what is asked, or both."""

    def due(
        self, view: Mapping[str, Resource], *, only_asked: bool, keep_removed: bool
    ) -> Payload | None:
        """What the node lacks; None when it is up to date. Changes nothing.

        `only_asked`: leaves out changes of what the node has; answers to its requests are given.
        `keep_removed`: leaves out what takes a resource away.
        """

    def send(self, payload: Payload, nonce: str, now: float) -> None:
        """Notes that the payload goes out."""

    def size(self) -> int:
        """Names that are remembered."""

    def held(self) -> int:
        """Resources that the node was given and still asks for."""

    def asks_by_name(self) -> bool:
        """Whether it was not asked for everything."""


class Stream(Generic[T]):
    """All types of one stream.

    It should be asked for `next` until that gives nothing: after `receive`, when the source
    changed, and at the time that `next` returned. `nonce_prefix` differs between streams, so that
    a nonce of a former stream is never taken for one of this.
    """

    def __init__(
        self,
        nonce_prefix: str,
        subscription: Callable[[str], Subscription[T]],
        limits: Limits | None = None,
    ) -> None:
        self._prefix = nonce_prefix
        self._subscription = subscription
        self._limits = limits or Limits()
        self._types: dict[str, Subscription[T]] = {}
        self._up_to_date: dict[str, Mapping[str, Resource]] = {}
        self._count = 0

    def receive(self, request: T) -> None:
        """Takes one request. Raises LimitError."""
        subscription = self._types.get(request.type_url)
        if subscription is None:
            if len(request.type_url) > self._limits.type_url_chars:
                raise LimitError(f"a type URL may have {self._limits.type_url_chars} characters")
            if len(self._types) >= self._limits.types:
                raise LimitError(f"a stream may ask for {self._limits.types} types of resources")
            subscription = self._subscription(request.type_url)
            self._types[request.type_url] = subscription
            ranks = {type_url: rank for rank, type_url in enumerate(DELIVERY)}
            self._types = dict(
                sorted(self._types.items(), key=lambda item: ranks.get(item[0], len(ranks)))
            )
        self._up_to_date.clear()
        subscription.receive(request)
        if sum(each.size() for each in self._types.values()) > self._limits.names:
            raise LimitError(f"a stream may ask for {self._limits.names} names")

    def next(self, view: View, now: float) -> tuple[Response | None, float | None]:
        """The response that is due, and when to ask again although nothing happened.

        A response given counts as sent.
        """
        views = {type_url: view(type_url) for type_url in self._types}
        if all(self._up_to_date.get(type_url) is views[type_url] for type_url in views):
            return None, None
        waits = self._waits_until(DESTINATIONS, now) is not None
        has_users = any(type_url in self._types for type_url in USERS)
        for type_url, subscription in self._types.items():
            payload = subscription.due(
                views[type_url],
                only_asked=type_url in USERS and waits,
                keep_removed=type_url in DESTINATIONS and has_users,
            )
            if payload is not None:
                return self._send(type_url, subscription, payload, now), None
        return self._next_removal(views, now) if has_users else self._rest(views)

    def _next_removal(
        self, views: Mapping[str, Mapping[str, Resource]], now: float
    ) -> tuple[Response | None, float | None]:
        """The destinations that are gone, once nothing that uses them is on its way."""
        waits_until = self._waits_until((*DESTINATIONS, *USERS), now)
        if waits_until is not None:
            return None, waits_until
        users = {type_url: self._types[type_url] for type_url in USERS if type_url in self._types}
        refused = any(
            not name or name in views[type_url]
            for type_url, user in users.items()
            for name in user.ledger.refusals
        )
        calm_at = max(user.ledger.sent_at for user in users.values()) + PATIENCE_S
        for type_url in DESTINATIONS:
            subscription = self._types.get(type_url)
            if subscription is None:
                continue
            if refused and subscription.held() - len(views[type_url]) <= MAX_KEPT:
                continue
            payload = subscription.due(views[type_url], only_asked=False, keep_removed=False)
            if payload is None:
                continue
            if type_url == messages.CLUSTER and subscription.asks_by_name() and now < calm_at:
                # gRPC acknowledges a route before it asks for the route's cluster.
                return None, calm_at
            return self._send(type_url, subscription, payload, now), None
        return self._rest(views)

    def _rest(self, views: Mapping[str, Mapping[str, Resource]]) -> tuple[None, None]:
        """The node has all there is for it."""
        self._up_to_date = dict(views)
        for type_url, subscription in self._types.items():
            for name in list(subscription.ledger.refusals):
                if name and name not in views[type_url]:
                    subscription.ledger.forget(name)  # nobody wants the node to take it any more
        return None, None

    def status(self) -> dict[str, TypeStatus]:
        """By type URL."""
        return {
            type_url: TypeStatus(
                sent=subscription.ledger.sent,
                acknowledged=subscription.ledger.acknowledged,
                resources=subscription.held(),
                refusals=tuple(subscription.ledger.refusals.values()),
            )
            for type_url, subscription in self._types.items()
        }

    def _send(
        self, type_url: str, subscription: Subscription[T], payload: Payload, now: float
    ) -> Response:
        self._count += 1
        nonce = f"{self._prefix}{self._count}"
        subscription.send(payload, nonce, now)
        return Response(
            type_url=type_url,
            nonce=nonce,
            version=payload.version,
            resources=payload.resources,
            removed=payload.removed,
        )

    def _waits_until(self, types: Iterable[str], now: float) -> float | None:
        earliest = None
        for type_url in types:
            subscription = self._types.get(type_url)
            end = None if subscription is None else subscription.ledger.waits_until(now)
            if end is not None and (earliest is None or end < earliest):
                earliest = end
        return earliest


def _mentions(text: str, name: str) -> bool:
    """Whether the name stands in the text, and not only as a part of a longer name."""
    inside = r"[\w|-]|\.\w"
    return bool(re.search(rf"(?<![\w|.-]){re.escape(name)}(?!{inside})", text))


def _reason_for(name: str, error: str) -> str:
    """Our own clients give one line a resource; others' reasons are taken whole."""
    for line in error.splitlines():
        if name and line.startswith(f"{name}: "):
            return line.removeprefix(f"{name}: ")
    return error[:MAX_ERROR_CHARS]


def version_of_set(resources: Iterable[Resource]) -> str:
    """The version of many resources together: equal for equal sets, in any order."""
    lines = sorted([f"{resource.name}\0{resource.version}\0" for resource in resources])
    return messages.version_of("".join(lines).encode())
