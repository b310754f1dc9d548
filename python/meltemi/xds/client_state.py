"""The client's end of xDS, without I/O: what it holds, what it asks for, how it answers.

Listeners, clusters and workloads are asked for whole; routes and endpoints by the names that the
listeners and clusters in use need. Everything held stays in use while there is no stream.

One response goes through four steps: `receive` takes it, `next_update` says what it changes, the
caller applies that and reports to `applied` what was refused, which gives the requests to send.
Changes of listeners and routes wait until the endpoints of new clusters are there, or are late
(make before break). Time is an argument, in seconds of any clock. `client` is the shell.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from meltemi.xds import messages, references
from meltemi.xds.client_values import Held, Step, TypeState, TypeStatus, Update
from meltemi.xds.discovery import (
    DELIVERY,
    MAX_ERROR_CHARS,
    SETS,
    USERS,
    DeltaRequest,
    Response,
    SotwRequest,
)
from meltemi.xds.references import Reference

DOES_NOT_EXIST_S: Final = 15.0
"""gRFC A27: a resource that did not come for so long after it was asked for does not exist."""
READY_S: Final = 2.0
"""How long routes wait for the endpoints of new clusters. Longer, and one cluster without endpoints
would keep every other change back."""
MAX_WAITING: Final = 256
"""Responses that wait for endpoints; with more of them they wait no longer."""
MAX_REASON_CHARS: Final = 500
"""Of one resource's refusal."""

Request = SotwRequest | DeltaRequest


class ClientState:
    """One client, over all its streams."""

    def __init__(
        self,
        *,
        delta: bool,
        everything_of: Sequence[str] = (messages.CLUSTER, messages.LISTENER, messages.WORKLOAD),
        by_name: Sequence[str] | None = None,
    ) -> None:
        """`by_name`: types that are asked for by name; those that `everything_of` need where it
        says nothing."""
        self._delta = delta
        if by_name is None:
            by_name = [references.CHILD[t] for t in everything_of if t in references.CHILD]
        ranks = {type_url: rank for rank, type_url in enumerate(DELIVERY)}
        self._types = {
            type_url: TypeState(type_url, everything=type_url in everything_of)
            for type_url in sorted(
                {*everything_of, *by_name}, key=lambda each: ranks.get(each, len(ranks))
            )
        }
        self._waiting: deque[Response] = deque()
        self._own: deque[Step] = deque()
        self._step: Step | None = None
        self._connected_at: float | None = None
        self._kept: set[str] = set()
        """Clusters that were gone when a new stream came up; see `_let_go`."""
        self._clusters_came = messages.CLUSTER not in self._types

    # === the stream comes and goes ===

    def connect(self, now: float) -> list[Request]:
        """A new stream is up: what to send first."""
        self.disconnect()
        self._connected_at = now
        requests: list[Request] = []
        for each in self._types.values():
            if each.everything or each.names:
                each.asked = True
                each.asked_at = {name: now for name in each.names if name not in each.held}
                requests.append(self._first_request(each))
        return requests

    def disconnect(self) -> None:
        """The stream is gone: its nonces mean nothing, its silence neither; what is held stays."""
        self._connected_at = None
        self._waiting.clear()
        self._kept.clear()
        self._step = None
        for each in self._types.values():
            each.nonce, each.asked = "", False
            each.asked_at.clear()
            each.passed.clear()

    def _first_request(self, each: TypeState) -> Request:
        names = tuple(sorted(each.names))
        if not self._delta:
            return SotwRequest(each.type_url, names=names, version=each.version)
        versions = {name: held.resource.version for name, held in each.held.items()}
        return DeltaRequest(each.type_url, subscribe=names, initial_versions=versions)

    # === one response ===

    def receive(self, response: Response) -> None:
        self._waiting.append(response)

    def next_update(self, now: float) -> Update | None:
        """What changes next; None when nothing may change now. Each one given must be followed by
        `applied` before the next is asked for."""
        self._let_go(now)
        if self._own:
            self._step = self._own.popleft()
            return self._step.update
        response = self._next_response(now)
        if response is None:
            return None
        self._step = self._examine(response, now)
        return self._step.update

    def _users_may_be_old(self, now: float) -> bool:
        """Whether listeners and routes may still be those of a former stream."""
        if self._connected_at is None or now >= self._connected_at + READY_S:
            return False
        users = [self._types[type_url] for type_url in USERS if type_url in self._types]
        return any(each.held and each.asked and not each.nonce for each in users)

    def _let_go(self, now: float) -> None:
        """A server that comes back knows nothing of what a client still uses, and answers for
        clusters first: those that are gone stay until the routes came that do without them."""
        if self._kept and self._connected_at is not None and not self._users_may_be_old(now):
            clusters = self._types[messages.CLUSTER]
            removed = tuple(sorted(self._kept & clusters.held.keys()))
            self._kept.clear()
            update = Update(messages.CLUSTER, clusters.version, removed=removed)
            self._own.append(Step(update, "", no_answer=True))

    def _next_response(self, now: float) -> Response | None:
        closed = self._users_wait_until(now) is not None and len(self._waiting) <= MAX_WAITING
        for ordinal, response in enumerate(self._waiting):
            if not (closed and response.type_url in USERS):
                del self._waiting[ordinal]
                return response
        return None

    def _users_wait_until(self, now: float) -> float | None:
        """When listeners and routes wait no longer for clusters; None when they need not wait."""
        if not self._clusters_came and self._connected_at is not None:
            until = self._connected_at + READY_S
            return until if now < until else None
        endpoints = self._types.get(messages.ENDPOINT)
        asked_at = endpoints.asked_at.values() if endpoints is not None else ()
        return min((at + READY_S for at in asked_at if now < at + READY_S), default=None)

    def _examine(self, response: Response, now: float) -> Step:
        each = self._types.get(response.type_url)
        if each is None:
            update = Update(response.type_url, response.version)
            fault = (response.type_url, "we did not ask for this type")
            return Step(update, response.nonce, faults=[fault], count=1, unknown_type=True)
        faults = list(response.unreadable)
        twice = {n for n, k in Counter(r.name for r in response.resources).items() if k > 1}
        faults += [(name, "is in one response twice") for name in sorted(twice)]
        changed, same, children = [], [], {}
        for resource in response.resources:
            if resource.name in twice or not (each.everything or resource.name in each.names):
                continue
            held = each.held.get(resource.name)
            if held is not None and held.resource.body == resource.body:
                same.append(resource)
                continue
            try:
                children[resource.name] = self._needs(each.type_url, resource.body)
            except (ValueError, LookupError) as exc:
                faults.append((resource.name, str(exc)))
                continue
            changed.append(resource)
        removed, missing = self._gone(each, response)
        if each.type_url == messages.CLUSTER:
            self._kept -= {resource.name for resource in response.resources}
            if self._users_may_be_old(now):
                self._kept.update(removed)
                removed = ()
        return Step(
            Update(response.type_url, response.version, tuple(changed), removed),
            response.nonce,
            tuple(same),
            children,
            faults,
            count=len(response.resources) + len(response.unreadable),
            missing=missing,
        )

    def _gone(self, each: TypeState, response: Response) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names to remove, and names that do not exist although we need them: those stay in use as
        long as something refers to them."""
        if not self._delta:
            if each.type_url not in SETS:
                return (), ()
            present = {resource.name for resource in response.resources}
            present |= {name for name, _reason in response.unreadable}
            if "" in present:
                return (), ()  # any of those held may be the one that cannot be read
            return tuple(name for name in each.held if name not in present), ()
        if not each.everything:
            return (), tuple(name for name in response.removed if name in each.names)
        return tuple(name for name in response.removed if name in each.held), ()

    def applied(self, refused: Sequence[tuple[str, str]], now: float) -> list[Request]:
        """The update is in use but for the resources `refused` (name, reason), which keep their
        last good state. Returns what to send: names that are needed now, then the answer."""
        step, self._step = self._step, None
        if step is None:
            raise ValueError("applied without an update")
        each = self._types.get(step.update.type_url)
        if each is None:
            return [self._answer(None, step, _complaint(step.faults, step.count))]
        if step.no_answer:
            self._keep(each, step, dict(refused), now)
            return list(self._follow(each, now))
        faults = [*step.faults, *refused]
        self._keep(each, step, dict(faults), now)
        requests = list(self._follow(each, now))
        each.error = _complaint(faults, step.count) if faults else None
        if each.error is None and step.update.version:
            each.version = step.update.version
        if each.type_url == messages.CLUSTER:
            self._clusters_came = True
        each.nonce = step.nonce
        return [*requests, self._answer(each, step, each.error)]

    def _keep(self, each: TypeState, step: Step, refused: Mapping[str, str], now: float) -> None:
        for resource in step.same:
            each.held[resource.name] = Held(resource, each.held[resource.name].since)
        for resource in step.update.resources:
            if resource.name not in refused:
                each.held[resource.name] = Held(resource, now)
                each.children[resource.name] = step.children.get(resource.name, frozenset())
        for name in {r.name for r in (*step.same, *step.update.resources)} | refused.keys():
            each.asked_at.pop(name, None)
            each.missing.discard(name)
            each.passed.discard(name)
            each.refused.pop(name, None)
        each.refused.update(refused)
        for name in step.update.removed:
            each.refused.pop(name, None)
            each.held.pop(name, None)
            each.children.pop(name, None)
        for name in step.missing:
            each.asked_at.pop(name, None)
            each.missing.add(name)
        if not self._delta and each.type_url in SETS and not step.no_answer:
            each.passed.update(each.asked_at)

    def _needs(self, type_url: str, body: bytes) -> frozenset[Reference]:
        """What a resource needs. Raises ValueError for one that cannot be read."""
        child = references.CHILD.get(type_url, "")
        return frozenset((child, name) for name in references.children(type_url, body))

    def _follow(self, parent: TypeState, now: float) -> Iterator[Request]:
        """Asks for what the parents in use need, and lets go of what none needs."""
        child = self._types.get(references.CHILD.get(parent.type_url, ""))
        if child is not None:
            needed = frozenset().union(*parent.children.values())
            yield from self._ask_for(child, frozenset(name for _type, name in needed), now)

    def _ask_for(self, child: TypeState, needed: frozenset[str], now: float) -> Iterator[Request]:
        """Asks for exactly these names of a type."""
        added, gone = needed - child.names, child.names - needed
        if not added and not gone:
            return
        child.names = needed
        child.missing -= gone
        for name in gone:
            child.asked_at.pop(name, None)
        for name in added - child.held.keys():
            child.asked_at[name] = now
        dropped = tuple(sorted(gone & child.held.keys()))
        if dropped:
            update = Update(child.type_url, child.version, removed=dropped)
            self._own.append(Step(update, "", no_answer=True))
        yield self._subscription_change(child, added, gone)
        child.asked = True

    def _subscription_change(
        self, child: TypeState, added: frozenset[str], gone: frozenset[str]
    ) -> Request:
        if not self._delta:
            return SotwRequest(
                child.type_url, tuple(sorted(child.names)), child.version, child.nonce
            )
        return DeltaRequest(
            child.type_url, subscribe=tuple(sorted(added)), unsubscribe=tuple(sorted(gone))
        )

    def _answer(self, each: TypeState | None, step: Step, error: str | None) -> Request:
        if self._delta:
            return DeltaRequest(step.update.type_url, nonce=step.nonce, error=error)
        names = tuple(sorted(each.names)) if each is not None else ()
        version = each.version if each is not None else ""
        return SotwRequest(step.update.type_url, names, version, step.nonce, error)

    # === time ===

    def deadline(self, now: float) -> float | None:
        """When to call `expire` and `next_update` although nothing came."""
        ends = [
            at + DOES_NOT_EXIST_S for each in self._types.values() for at in each.asked_at.values()
        ]
        if self._kept and self._connected_at is not None:
            ends.append(self._connected_at + READY_S)
        if self._waiting and (opens := self._users_wait_until(now)) is not None:
            ends.append(opens)
        return min(ends, default=None)

    def expire(self, now: float) -> list[tuple[str, str]]:
        """Type and name of what was asked for so long ago that it does not exist."""
        found = []
        for each in self._types.values():
            late = [name for name, at in each.asked_at.items() if at + DOES_NOT_EXIST_S <= now]
            for name in late:
                del each.asked_at[name]
                each.missing.add(name)
                found.append((each.type_url, name))
        return found

    # === what is known ===

    def held(self, type_url: str) -> Mapping[str, Held]:
        """The accepted resources of a type, by name. Empty for a type that is not asked for."""
        each = self._types.get(type_url)
        return each.held if each is not None else {}

    def status(self) -> dict[str, TypeStatus]:
        """By type URL, in the order of delivery."""
        return {
            type_url: TypeStatus(
                version=each.version,
                resources=len(each.held),
                awaited=tuple(sorted(each.asked_at)),
                missing=tuple(sorted(each.missing)),
                error=each.error,
            )
            for type_url, each in self._types.items()
        }


def _complaint(faults: Sequence[tuple[str, str]], count: int) -> str:
    """What is told to the server: one line a bad resource, its name first (gRFC A46)."""
    lines = [f"refused {len(faults)} of {count} resources"]
    for name, reason in faults:
        flat = " ".join(reason.split())[:MAX_REASON_CHARS]
        lines.append(f"{name}: {flat}" if name else flat)
    return "\n".join(lines)[:MAX_ERROR_CHARS]
