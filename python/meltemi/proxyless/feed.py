"""What a process knows of the mesh: the xDS client, the router that it fills, and the file of the
last good state. `mesh` asks it for what calls need; a forked child makes a new one."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from meltemi.engine import Router
from meltemi.proxyless import last_known, listener_names
from meltemi.proxyless.last_known import LastKnown
from meltemi.proxyless.options import Options
from meltemi.proxyless.target import Target
from meltemi.proxyless.waiting import Changes
from meltemi.secret import Secret
from meltemi.xds import discovery, messages
from meltemi.xds.blocking_client import BlockingAdsClient, Server
from meltemi.xds.client_on_demand import OnDemandState
from meltemi.xds.client_state import Request
from meltemi.xds.messages import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    NAME_TABLE,
    ROUTE,
)
from meltemi.xds.references import Reference
from meltemi.xds.shell import ClientStatus, short

if TYPE_CHECKING:
    from meltemi.engine.colouring import Colouring
    from meltemi.lanes.callers import Callers

log = logging.getLogger("meltemi.proxyless")

KEPT: Final = (NAME_TABLE, LISTENER, ROUTE, CLUSTER, ENDPOINT, EXTENSION_CONFIG)
"""What the last good state is made of; each type after those that name its resources."""
WRITE_AFTER_S: Final = 1.0
"""How long a change may wait for further ones before the file is written."""
WRITE_AGAIN_S: Final = 5.0
"""Between two writes: endpoints may change a hundred times a second."""


class Feed:
    """Begins with `start`, ends with `close`. Attributes are read by any thread, and replaced by
    the xDS thread."""

    def __init__(self, options: Options, known: LastKnown | None = None) -> None:
        """`known`: what a parent process knew; None: what the file says."""
        self.router = Router()
        self.changes = Changes()
        self.absent: frozenset[Reference] = frozenset()
        self.unusable: Mapping[Reference, str] = {}
        """What came and was refused, and why."""
        self.lacking: Mapping[str, tuple[Reference, ...]] = {}
        """By listener that is wanted and cannot be used yet: what it waits for."""
        self.listeners: dict[str, str] = {}
        """As a sidecar: the listener's name by the target's. The same object always."""
        self.colouring: Colouring | None = None
        """What colouring does here; None until it is known."""
        self.callers: Callers | None = None
        """Whose marks count with servers of this process; known together with `colouring`."""
        self.colours = False
        """Whether the rules of colouring are asked for."""
        self._options = options
        self._lock = threading.Lock()
        self._targets: dict[str, Target] = {}
        self._watched: set[str] = set()
        self._used_at: dict[str, float] = {}
        self._table: listener_names.Table | None = None
        self._dirty_since: float | None = None
        self._written_at = float("-inf")
        self._as_sidecar = options.mode == "sidecar"
        everything = (NAME_TABLE,) if self._as_sidecar else ()
        self._state = OnDemandState(delta=options.delta, everything_of=everything)
        self._client = BlockingAdsClient(
            _server(options),
            options.node(),
            self._state,
            on_update=self._update,
            on_change=self._changed,
            delta=options.delta,
        )
        if known is None and options.last_known is not None:
            known = self._load()
        if known is not None:
            self._restore(known)

    def start(self) -> None:
        self._client.start()

    def close(self) -> None:
        """Ends the stream; what the file should hold is written."""
        self._client.close()
        if self._dirty_since is not None:
            self._write()

    def forget_sockets(self) -> None:
        """See BlockingAdsClient: of a parent's feed, in a child."""
        self._client.forget_sockets()

    def child(self) -> Feed:
        """In a forked child: a feed of its own that begins with what this one knew."""
        made = Feed(self._options, self.known())
        made.listeners.update(self.listeners)
        for target in self._targets.values():
            made.want(target)
        if self.colours:
            made.want_colouring()
        return made

    def status(self) -> ClientStatus:
        return self._client.status()

    # === what is wanted ===

    def want(self, target: Target) -> None:
        """Asks for all that calls of the target need. Never blocks; the second time it does
        nothing."""
        if target.listener in self._targets:
            return
        with self._lock:
            if target.listener in self._targets:
                return
            self._targets = {**self._targets, target.listener: target}
            if not self._as_sidecar:
                self._watch(target.listener)
        self._client.post(functools.partial(self._want, target))

    def _want(self, target: Target, state: OnDemandState, now: float) -> list[Request]:
        if not self._as_sidecar:
            self._used_at[target.listener] = time.time()
            guesses = {target.listener: listener_names.guesses(target, self._options)}
            return state.want([target.listener], now, guesses)
        if self._table is None:
            return []  # asked for when the table comes
        names = listener_names.candidates(target, self._table, self._options)
        for name in names:
            self._used_at[name] = time.time()
        return state.want(names, now)

    def want_colouring(self) -> None:
        """Asks for the rules of colouring. Never blocks; the second time it does nothing."""
        if self.colours:
            return
        from meltemi.proxyless.edge import RESOURCE

        self.colours = True
        self._client.post(lambda state, now: state.want_extension(RESOURCE, now))

    def _watch(self, listener: str) -> None:
        """Until it can be used; `lacking` names it from now on."""
        self._watched.add(listener)
        self.lacking = {**self.lacking, listener: ((LISTENER, listener),)}

    def why_not(self, target: Target) -> str | None:
        """Why there is no use in waiting for the target; None where there may be."""
        if not self._as_sidecar:
            return None if (LISTENER, target.listener) not in self.absent else NO_SUCH
        if self._table is None or target.listener in self.listeners:
            return None
        names = listener_names.candidates(target, self._table, self._options)
        return NO_SUCH if all((LISTENER, name) in self.absent for name in names) else None

    # === in the xDS thread ===

    def _update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
    ) -> Sequence[tuple[str, str]]:
        self._dirty_since = self._dirty_since or time.monotonic()
        if type_url == EXTENSION_CONFIG:
            return self._take_colouring(resources)
        if type_url != NAME_TABLE:
            refused: list[tuple[str, str]] = self.router.update(
                type_url, version, resources, removed
            )
            return refused
        for name, body in resources:
            try:
                self._table = listener_names.table_of(messages.parse(type_url, body))
            except ValueError as exc:
                return [(name, str(exc))]
        for target in self._targets.values():
            self._client.post(functools.partial(self._want, target))
        return ()

    def _take_colouring(self, resources: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, str]]:
        from meltemi.proxyless import edge

        for name, body in resources:
            try:
                self.colouring, self.callers = edge.rules_of(body)
            except ValueError as exc:
                return [(name, str(exc))]
        return ()

    def _changed(self, state: OnDemandState) -> float | None:
        """Publishes what others wait for; when to be called again."""
        self.absent, self.unusable = state.absent(), state.unusable()
        if self._as_sidecar:
            found = dict(self._found(state))
            self.listeners.update(found)
            for gone in self.listeners.keys() - found.keys():
                del self.listeners[gone]
        with self._lock:
            lacking = {name: tuple(state.lacking(LISTENER, name)) for name in self._watched}
            self._watched = {name for name, missing in lacking.items() if missing}
            self.lacking = {name: lacking[name] for name in self._watched}
        self.changes.notify()
        return self._write_if_due()

    def _found(self, state: OnDemandState) -> Sequence[tuple[str, str]]:
        held = state.held(LISTENER)
        found = []
        for listener, target in self._targets.items():
            names = listener_names.candidates(target, self._table or {}, self._options)
            for name in names:
                # While a better one may come it is what it was: a listener that hosts share is no
                # good for one that has its own.
                waits = state.may_come(LISTENER, name)
                best = self.listeners.get(listener, "") if waits else name
                if best in held:
                    found.append((listener, best))
                if waits or best in held:
                    break
        return found

    # === the last good state ===

    def known(self) -> LastKnown:
        """What is known now; for the file, and in a child of what the parent knew."""
        resources = {
            type_url: [held.resource for held in self._state.held(type_url).values()]
            for type_url in KEPT
        }
        return LastKnown(resources, dict(self._used_at))

    def _owner(self) -> str:
        return f"{self._options.node_id} at {self._options.address} as {self._options.mode}"

    def _load(self) -> LastKnown | None:
        options = self._options
        assert options.last_known is not None
        age_s = options.last_known_max_age_s
        found = last_known.load(options.last_known, self._owner(), time.time(), age_s)
        if found is not None:
            count = sum(len(each) for each in found.resources.values())
            log.info("begins with %d resources of %s", count, options.last_known)
        return found

    def _restore(self, known: LastKnown) -> None:
        """Puts to use what was known; listeners that were not used for long are left out."""
        oldest = time.time() - self._options.last_known_max_age_s
        self._used_at = {name: at for name, at in known.used_at.items() if at >= oldest}
        now = time.monotonic()
        for type_url in KEPT:
            held = known.resources.get(type_url, ())
            if type_url == LISTENER:
                held = [each for each in held if each.name in self._used_at]
            elif type_url not in (NAME_TABLE, EXTENSION_CONFIG):
                held = [each for each in held if self._state.is_needed(type_url, each.name)]
            elif type_url == NAME_TABLE and not self._as_sidecar:
                continue
            try:
                self._state.restore(type_url, held, now)
            except ValueError as exc:
                log.warning("of the last known state a %s is left out: %s", short(type_url), exc)
        for type_url in (NAME_TABLE, *discovery.DELIVERY, EXTENSION_CONFIG):
            bodies = [(n, each.resource.body) for n, each in self._state.held(type_url).items()]
            if bodies:
                for name, reason in self._update(type_url, "last known", bodies, ()):
                    log.warning("last known %s %r is not used: %s", short(type_url), name, reason)
        self._dirty_since = None

    def _write_if_due(self) -> float | None:
        """Writes the file, or says in how many seconds."""
        if self._options.last_known is None or self._dirty_since is None:
            return None
        due = max(self._dirty_since + WRITE_AFTER_S, self._written_at + WRITE_AGAIN_S)
        if (left := due - time.monotonic()) > 0:
            return left
        self._write()
        return None

    def _write(self) -> None:
        if self._options.last_known is None:
            return
        self._dirty_since, self._written_at = None, time.monotonic()
        try:
            last_known.save(self._options.last_known, self._owner(), self.known(), time.time())
        except OSError as exc:
            log.warning("cannot keep the last known state: %s", exc)


NO_SUCH: Final = "the server says that it does not exist, or was silent for 15 s"


def _server(options: Options) -> Server:
    token: Callable[[], Secret] | None = None if options.token is None else options.token.read
    tls = options.tls
    return Server(
        address=options.address,
        token=token,
        metadata=(("clusterid", options.cluster_id),) if options.cluster_id else (),
        tls=tls is not None,
        ca=tls.ca if tls else None,
        server_name=tls.server_name if tls else None,
    )
