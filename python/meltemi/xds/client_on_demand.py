"""A client that asks for everything by name, and for nothing that nobody calls, without I/O.

Listeners are asked for as they are wanted; routes as listeners name them; clusters, and their
endpoints at the same time, as routes name them. So the first call of a target costs three round
trips at most, and one where `want` was told what the names will probably be.

A new version of routes that are in use waits until the clusters that it names are there, or are
late (make before break). Everything that was wanted stays asked for: a target costs its first call
once. `blocking_client` is the shell.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltemi.xds import references
from meltemi.xds.client_state import MAX_WAITING, READY_S, ClientState, Request
from meltemi.xds.client_values import Held, Step, TypeState, Update
from meltemi.xds.discovery import SETS, USERS, DeltaRequest, Response, SotwRequest
from meltemi.xds.messages import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from meltemi.xds.references import Reference
from meltemi.xds.resource import Resource

ASK_AGAIN_S: Final = 5.0
"""How often what does not exist is asked for again: istiod forgets who asked, once it said so."""
BY_NAME: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A response that may not be in use before what it needs is."""

    response: Response
    needs: frozenset[Reference]
    until: float


class OnDemandState(ClientState):
    """See the module."""

    def __init__(self, *, delta: bool, everything_of: Sequence[str] = ()) -> None:
        super().__init__(delta=delta, everything_of=everything_of, by_name=BY_NAME)
        self._clusters_came = True  # none is asked for before a route names it
        self._entries: deque[_Waiting] = deque()
        self._set_aside: dict[str, dict[str, Resource]] = {}
        """Of a server that sends all of a type to who asks by name (istiod to a sidecar): what
        came unasked. Such a one does not answer when it is asked for later."""
        self._sends_all = bool(everything_of)
        """Listeners and clusters come unasked, to who has to ask for a name table."""
        self._ask_again_at: float | None = None
        """When; None while nothing is missing."""
        self._guesses: dict[str, frozenset[Reference]] = {}
        """By listener: what it will probably need; until it is known what it needs."""

    # === what is wanted ===

    def want(
        self, names: Iterable[str], now: float, guesses: Mapping[str, Iterable[Reference]] = {}
    ) -> list[Request]:
        """Asks for listeners and what they need. `guesses` (by listener) are asked for at once, and
        never waited for. Returns what to send on the stream, if there is one."""
        listeners = self._types[LISTENER]
        new = frozenset(names) - listeners.names
        for name in new:
            self._guesses[name] = frozenset(guesses.get(name, ()))
        requests = list(self._ask_for(listeners, listeners.names | new, now))
        requests += self._follow(listeners, now)
        return self._sendable(requests)

    def want_extension(self, name: str, now: float) -> list[Request]:
        """Asks for a configuration that nothing else names. Returns what to send."""
        each = self._types[EXTENSION_CONFIG]
        return self._sendable(list(self._ask_for(each, each.names | {name}, now)))

    def restore(self, type_url: str, resources: Iterable[Resource], now: float) -> None:
        """Takes resources of a former process as if they had come; nothing was sent for them yet.
        Of listeners, that they are wanted too. Raises ValueError for what is no such resource."""
        each = self._types[type_url]
        for resource in resources:
            each.children[resource.name] = self._needs(type_url, resource.body)
            each.held[resource.name] = Held(resource, now)
        if type_url == LISTENER:
            each.names |= each.held.keys()
        self._sendable(list(self._follow(each, now)))

    def is_needed(self, type_url: str, name: str) -> bool:
        """Whether something that is wanted names the resource."""
        return name in self._types[type_url].names

    def lacking(self, type_url: str, name: str) -> Iterator[Reference]:
        """What is still awaited before this resource can be used. What does not exist is not
        awaited."""
        each = self._types[type_url]
        if name in each.held:
            for child in sorted(each.children.get(name, ())):
                yield from self.lacking(*child)
        elif name not in each.missing:
            yield type_url, name

    def absent(self) -> frozenset[Reference]:
        """What was asked for and does not exist, as far as the server says or is silent."""
        return frozenset(
            (type_url, name)
            for type_url, each in self._types.items()
            for name in each.missing
            if name not in each.held
        )

    def may_come(self, type_url: str, name: str) -> bool:
        """Whether it was asked for on this stream and the server has not answered yet; or what it
        answered was refused."""
        each = self._types[type_url]
        if name in each.held:
            return False
        return name in each.refused or name in each.asked_at.keys() - each.passed

    def unusable(self) -> dict[Reference, str]:
        """Why: of what came and was refused, so that there is none in use."""
        return {
            (type_url, name): reason
            for type_url, each in self._types.items()
            for name, reason in each.refused.items()
            if name in each.names and name not in each.held
        }

    def use_state_of_the_world(self) -> None:
        """For a server that knows no delta; between two streams."""
        self.disconnect()
        self._delta = False

    # === responses ===

    def disconnect(self) -> None:
        super().disconnect()
        self._entries.clear()
        self._set_aside.clear()

    def take(self, response: Response, now: float) -> list[Request]:
        """Takes a response, and returns requests for what it will need when it is in use."""
        needs = self._new_needs(response) if response.type_url in USERS else frozenset()
        self._entries.append(_Waiting(response, needs, now + READY_S))
        return self._sendable(list(self._follow_all(now))) if needs else []

    def _new_needs(self, response: Response) -> frozenset[Reference]:
        """Of resources that are in use already: others are not waited for by any call."""
        each = self._types[response.type_url]
        needs: set[Reference] = set()
        for resource in response.resources:
            held = each.held.get(resource.name)
            if held is None or held.resource.body == resource.body:
                continue
            try:
                new = self._needs(response.type_url, resource.body)
                needs |= new - each.children[resource.name]  # what is in use already is as it is
            except (ValueError, LookupError):
                continue  # refused when its turn comes
        return frozenset(needs)

    def _next_response(self, now: float) -> Response | None:
        blocked: set[str] = set()  # a later response never overtakes one of its type
        for ordinal, entry in enumerate(self._entries):
            type_url = entry.response.type_url
            if type_url in blocked:
                continue
            if now < entry.until and len(self._entries) <= MAX_WAITING and self._waits(entry):
                blocked.add(type_url)
                continue
            del self._entries[ordinal]
            return entry.response
        return None

    def _examine(self, response: Response, now: float) -> Step:
        each = self._types.get(response.type_url)
        if each is not None and self._delta and each.type_url in SETS and not each.everything:
            unasked = {r.name: r for r in response.resources if r.name not in each.names}
            if unasked or each.type_url in self._set_aside:
                aside = self._set_aside.setdefault(each.type_url, {})
                aside.update(unasked)
                for name in response.removed:
                    aside.pop(name, None)
        return super()._examine(response, now)

    def _waits(self, entry: _Waiting) -> bool:
        return not all(self._is_there(*need) for need in entry.needs)

    def _is_there(self, type_url: str, name: str) -> bool:
        """Unlike in `lacking`, what does not exist may still come: the server may make the cluster
        after the route, and meanwhile the old routes are good."""
        each = self._types[type_url]
        if name not in each.held:
            return name in each.refused  # it came, and waiting gives no other
        return all(self._is_there(*child) for child in each.children[name])

    def _users_may_be_old(self, now: float) -> bool:
        waiting = any(entry.response.type_url in USERS for entry in self._entries)
        return waiting or super()._users_may_be_old(now)

    def _gone(self, each: TypeState, response: Response) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if not self._delta:
            removed, _missing = super()._gone(each, response)
            return removed, removed
        named = tuple(name for name in response.removed if each.everything or name in each.names)
        if each.type_url not in SETS:
            return (), named  # in use as long as something names it
        return tuple(name for name in named if name in each.held), named

    # === what follows ===

    def _needs(self, type_url: str, body: bytes) -> frozenset[Reference]:
        return references.needed(type_url, body)

    def _follow(self, parent: TypeState, now: float) -> Iterator[Request]:
        if parent.type_url != ENDPOINT or self._guesses:  # endpoints name nothing further
            yield from self._follow_all(now)

    def _follow_all(self, now: float) -> Iterator[Request]:
        for name in [name for name in self._guesses if self._is_known(name)]:
            del self._guesses[name]
        wanted: set[Reference] = set()
        for each in self._types.values():
            wanted.update(*each.children.values())
        wanted.update(*(entry.needs for entry in self._entries), *self._guesses.values())
        clusters = self._types[CLUSTER]
        # Endpoints are mostly named as their cluster: asked for together, they cost one round trip.
        wanted |= {
            (ENDPOINT, name)
            for type_url, name in wanted
            if type_url == CLUSTER and name not in clusters.held and name not in clusters.missing
        }
        for type_url in (ROUTE, CLUSTER, ENDPOINT):
            names = frozenset(name for kind, name in wanted if kind == type_url)
            yield from self._ask_for(self._types[type_url], names, now)

    def _ask_for(self, child: TypeState, needed: frozenset[str], now: float) -> Iterator[Request]:
        aside = self._set_aside.get(child.type_url)
        if aside is None:
            yield from super()._ask_for(child, needed, now)
            return
        came = [aside.pop(name) for name in sorted(needed - child.names) if name in aside]
        gone = (child.names - needed) & child.held.keys()
        aside.update({name: child.held[name].resource for name in gone})
        yield from super()._ask_for(child, needed, now)
        for resource in came:
            with contextlib.suppress(ValueError, LookupError):  # it stays awaited
                needs = {resource.name: self._needs(child.type_url, resource.body)}
                update = Update(child.type_url, child.version, (resource,))
                self._own.append(Step(update, "", children=needs, no_answer=True))

    def _is_known(self, listener: str) -> bool:
        return next(self.lacking(LISTENER, listener), None) is None

    def _sendable(self, requests: list[Request]) -> list[Request]:
        if self._connected_at is not None:
            return requests
        for each in self._types.values():  # nobody was asked, so nobody is silent
            each.asked_at.clear()
        return []

    def _subscription_change(
        self, child: TypeState, added: frozenset[str], gone: frozenset[str]
    ) -> Request:
        """In state of the world a request that names an older nonce is not read: while a response
        waits here its nonce is the one to name."""
        request = super()._subscription_change(child, added, gone)
        if isinstance(request, DeltaRequest):
            return request
        nonces = [e.response.nonce for e in self._entries if e.response.type_url == child.type_url]
        nonce = nonces[-1] if nonces else request.nonce
        return SotwRequest(request.type_url, request.names, request.version, nonce)

    def ask_again(self, now: float) -> list[Request]:
        """For names that the server said do not exist, each ASK_AGAIN_S; what to send."""
        missing = {
            each.type_url: tuple(sorted(each.missing & each.names))
            for each in self._types.values()
            if self._delta and not self._sends_all
        }
        requests: list[Request] = [DeltaRequest(t, subscribe=n) for t, n in missing.items() if n]
        if self._connected_at is None or not requests:
            self._ask_again_at = None
            return []
        if self._ask_again_at is None:
            self._ask_again_at = now + ASK_AGAIN_S
        if now < self._ask_again_at:
            return []
        self._ask_again_at = now + ASK_AGAIN_S
        return requests

    def deadline(self, now: float) -> float | None:
        ends = [entry.until for entry in self._entries if entry.needs]
        if self._ask_again_at is not None:
            ends.append(self._ask_again_at)
        first = super().deadline(now)
        return min(ends if first is None else [*ends, first], default=None)
