"""A mesh as its callers see it: clients of targets, and what is known of them.

`connect` makes one; `thrift`, `grpc_channel` and `httpx_client` send calls where `Mesh.call` says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from meltemi.engine import Call, DirectResponse, NoEndpoint, NoRoute, NotKnown, Overflow
from meltemi.proxyless import fork, lane_metrics
from meltemi.proxyless.errors import (
    CallTimeoutError,
    CircuitBreakerError,
    ClosedError,
    DirectResponseError,
    MeltemiError,
    NoEndpointError,
    NoRouteError,
    NotReadyError,
)
from meltemi.proxyless.explanation import Explanation
from meltemi.proxyless.feed import NO_SUCH, Feed
from meltemi.proxyless.options import Options
from meltemi.proxyless.target import Target
from meltemi.xds.shell import short

if TYPE_CHECKING:
    import grpc as grpc_package
    import httpx as httpx_package

    from meltemi.engine.colouring import Colouring
    from meltemi.lanes.callers import Callers

log = logging.getLogger("meltemi.proxyless")

Headers = Sequence[tuple[str, str]]
_Route = Callable[[str, str, str, Headers, str | None], Call]
_REFUSED: Final = (NotKnown, NoRoute, NoEndpoint, Overflow, DirectResponse)


class Mesh:
    """One process's client of a mesh; every method from any thread.

    `close` ends it, as leaving a `with` does. In a forked child it goes on: what the parent knew is
    known, the stream is the child's own.
    """

    def __init__(self, options: Options, on_close: Callable[[Options], bool] | None = None) -> None:
        self._options = options
        self._on_close = on_close
        self._caller = options.source_address
        """What a hash by the caller's address is made of."""
        self._before_fork: list[Callable[[], object]] = []
        self._in_child: list[Callable[[], object]] = []
        self._paths: dict[str, str] = {}
        self._closed = False
        self._inherited: list[Feed] = []
        """In a child, what its parents had: never used, and never freed either, because a thread
        that is not here may have held its locks."""
        self._birth = threading.Lock()
        self._living: Feed | None = Feed(options)
        self._listeners: Mapping[str, str] = self._living.listeners
        self._route: _Route = self._living.router.call
        fork.follow(self)
        lane_metrics.follow(self)
        self._living.start()

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream to the control plane. Calls fail with ClosedError from then on."""
        if self._closed or (self._on_close is not None and not self._on_close(self._options)):
            return
        self._closed = True
        self._route = _closed
        if self._living is not None:
            self._living.close()

    # === clients ===

    def thrift(self, target: str, service: Any, **options: Any) -> Any:
        """A blocking thriftpy2 client of `service`, the class that thriftpy2 makes of a service.

        `options` are those of `meltemi.proxyless.thrift.client`: `wire`, `timeout_s`,
        `connect_timeout_s`, `package`, `multiplexed`, `caller`. Raises SettingsError for a target
        that is no HOST:PORT, ValueError or TypeError for other arguments.
        """
        from meltemi.proxyless import thrift

        return thrift.client(self, target, service, **options)

    def thrift_async(self, target: str, service: Any, **options: Any) -> Any:
        """The same for asyncio; see `meltemi.proxyless.thrift.async_client`."""
        from meltemi.proxyless import thrift

        return thrift.async_client(self, target, service, **options)

    def grpc(self, target: str, **options: Any) -> grpc_package.Channel:
        """A channel for generated stubs. `options=` are grpcio's, for each endpoint. Raises
        SettingsError for a target that is no HOST:PORT; calls raise grpc.RpcError."""
        from meltemi.proxyless import grpc_channel

        return grpc_channel.channel(self, target, **options)

    def grpc_aio(self, target: str, **options: Any) -> grpc_package.aio.Channel:
        """The same for asyncio: a `grpc.aio.Channel`; calls raise grpc.aio.AioRpcError."""
        from meltemi.proxyless import grpc_aio_channel

        return grpc_aio_channel.channel(self, target, **options)

    def httpx(self, base_url: str, **options: Any) -> httpx_package.Client:
        """An `httpx.Client` for `http://HOST:PORT`; `options` are its own. Requests raise httpx's
        errors, whose `__cause__` is ours where no route or endpoint was found."""
        from meltemi.proxyless import httpx_client

        return httpx_client.client(self, base_url, **options)

    def httpx_async(self, base_url: str, **options: Any) -> httpx_package.AsyncClient:
        """An `httpx.AsyncClient`; `options` are its own."""
        from meltemi.proxyless import httpx_client

        return httpx_client.async_client(self, base_url, **options)

    def httpx_transport(self) -> httpx_package.BaseTransport:
        """What a client of one's own mounts: `httpx.Client(mounts={"http://": transport})`."""
        from meltemi.proxyless import httpx_client

        return httpx_client.MeshTransport(self)

    def httpx_async_transport(self) -> httpx_package.AsyncBaseTransport:
        """The same for `httpx.AsyncClient`."""
        from meltemi.proxyless import httpx_client

        return httpx_client.AsyncMeshTransport(self)

    # === what integrations use ===

    @property
    def source_address(self) -> str | None:
        """The address that connections to endpoints come from; None: the system chooses."""
        return self._options.source_address

    def target(self, text: str) -> Target:
        """Reads `reviews:9080`, `reviews.default:9080` or a URL, and begins to ask for all that its
        calls need, so that the first has little to wait for. Raises SettingsError."""
        found = Target.parse(text)
        self._feed.want(found)
        return found

    def call(
        self, target: Target, path: str, headers: Headers = (), within_s: float | None = None
    ) -> Call:
        """Routes a call and picks its first endpoint. What the target needs is waited for the first
        time, at most `ready_timeout_s`, and not longer than `within_s`, the time that the caller
        gives the call. Raises the errors of `meltemi.proxyless.errors`: CallTimeoutError where that
        time is over first."""
        listener = self._listeners.get(target.listener, target.listener)
        try:
            return self._route(listener, target.authority, path, headers, self._caller)
        except NotKnown:
            pass
        except _REFUSED as exc:
            raise _public(exc) from None
        return self._first_call(target, path, headers, within_s)

    async def call_async(
        self, target: Target, path: str, headers: Headers = (), within_s: float | None = None
    ) -> Call:
        """`call`, without blocking the event loop."""
        listener = self._listeners.get(target.listener, target.listener)
        try:
            return self._route(listener, target.authority, path, headers, self._caller)
        except NotKnown:
            pass
        except _REFUSED as exc:
            raise _public(exc) from None
        self._feed.want(target)
        deadline = self._patience_ends(within_s)
        while True:
            seen = self._feed.changes.count
            found = self._try(target, path, headers)
            if isinstance(found, Call):
                return found
            self._give_up_if_hopeless(target, found)
            if not await self._feed.changes.wait_async(seen, deadline):
                raise self._not_ready(target, found, within_s)

    def on_fork(
        self,
        before: Callable[[], object] | None = None,
        in_child: Callable[[], object] | None = None,
    ) -> None:
        """Has `before` called in the parent before each fork, and `in_child` after it in the child:
        connections are not to be shared."""
        if before is not None:
            self._before_fork.append(before)
        if in_child is not None:
            self._in_child.append(in_child)

    def serves(self, target: Target, path_prefix: str) -> None:
        """Says that methods of the target have the paths `<path_prefix><method>`, so that `explain`
        can be asked with a method alone (`/reviews.ReviewsService/`)."""
        self._paths[target.authority] = path_prefix

    def colouring(self) -> Colouring | None:
        """What colouring does at this edge, as the control plane says now; None until it is known.
        The first time begins to ask for it."""
        feed = self._feed
        if not feed.colours:
            feed.want_colouring()
        return feed.colouring

    def callers(self) -> Callers | None:
        """Whose marks of lanes count with servers of this process; as `colouring`."""
        feed = self._feed
        if not feed.colours:
            feed.want_colouring()
        return feed.callers

    def wait_for_colouring(self, timeout_s: float) -> bool:
        """Waits until `colouring` knows; whether it does."""
        deadline = time.monotonic() + timeout_s
        while True:
            feed = self._feed
            seen = feed.changes.count
            if self.colouring() is not None:
                return True
            if not feed.changes.wait(seen, deadline):
                return False

    # === the first call ===

    def _first_call(
        self, target: Target, path: str, headers: Headers, within_s: float | None
    ) -> Call:
        self._feed.want(target)
        deadline = self._patience_ends(within_s)
        while True:
            seen = self._feed.changes.count
            found = self._try(target, path, headers)
            if isinstance(found, Call):
                return found
            self._give_up_if_hopeless(target, found)
            if not self._feed.changes.wait(seen, deadline):
                raise self._not_ready(target, found, within_s)

    def _patience_ends(self, within_s: float | None) -> float:
        """When the wait of a first call that begins now is over; of time.monotonic."""
        ready_s = self._options.ready_timeout_s
        return time.monotonic() + (ready_s if within_s is None else min(ready_s, within_s))

    def _try(self, target: Target, path: str, headers: Headers) -> Call | NotKnown:
        listener = self._listeners.get(target.listener, target.listener)
        try:
            return self._route(listener, target.authority, path, headers, self._caller)
        except NotKnown as exc:
            return exc
        except _REFUSED as exc:
            raise _public(exc) from None

    def _give_up_if_hopeless(self, target: Target, lacking: NotKnown) -> None:
        """Raises NotReadyError where the server said that something does not exist."""
        why = self._feed.why_not(target)
        if why is not None:
            why += f"; {self._where_names_are}"
        found = [each for each in lacking.missing if tuple(each) in self._feed.absent]
        if why is None and found:
            why = NO_SUCH
        for kind, name in lacking.missing:
            if why is None and (reason := self._feed.unusable.get((kind, name))) is not None:
                why, found = f"what came was refused: {reason}", [(kind, name)]
        if why is not None:
            raise NotReadyError(target.text, _named(found or lacking.missing), why)

    @property
    def _where_names_are(self) -> str:
        """What may be wrong with a name that the server does not know."""
        return (
            f"is it a service of namespace {self._options.namespace!r} with this port? "
            "Others are SERVICE.NAMESPACE:PORT"
        )

    def _not_ready(self, target: Target, lacking: NotKnown, within_s: float | None) -> MeltemiError:
        status = self._feed.status()
        own = within_s is not None and within_s < self._options.ready_timeout_s
        waited_s = within_s if own else self._options.ready_timeout_s
        waited = f"nothing came within {waited_s:g} s"
        if own:
            waited += ", the time of the call,"
        if status.connected:
            said = [state.error for state in status.types.values() if state.error]
            why = f"{waited} from {status.server}" + (f", refused: {said[0]}" if said else "")
        else:
            why = f"{waited}: no control plane at {status.server} ({status.last_error})"
        lacked = NotReadyError(target.text, _named(lacking.missing), why)
        return CallTimeoutError(str(lacked)) if own else lacked

    # === what is known ===

    def warm(self, targets: Iterable[str | Target], timeout_s: float) -> None:
        """Waits until all that calls of these targets may need is known. Raises NotReadyError after
        `timeout_s`, naming all that is missing; what comes later is used all the same."""
        wanted = [each if isinstance(each, Target) else self.target(each) for each in targets]
        for target in wanted:
            self._feed.want(target)
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self._feed.changes.count
            awaited = {t.text: missing for t in wanted if (missing := self._awaited(t))}
            hopeless = {t.text: why for t in wanted if (why := self._feed.why_not(t))}
            if not awaited and not hopeless:
                return
            if awaited.keys() <= hopeless.keys() or not self._feed.changes.wait(seen, deadline):
                missing = _named(each for found in awaited.values() for each in found)
                why = "; ".join(f"{name}: {why}" for name, why in hopeless.items())
                status = self._feed.status()
                where = f"{status.server}: {status.last_error or 'connected'}"
                text = ", ".join(sorted({*awaited, *hopeless}))
                raise NotReadyError(text, missing, why or f"not within {timeout_s:g} s ({where})")

    def _awaited(self, target: Target) -> Sequence[tuple[str, str]]:
        if self._options.mode == "sidecar":
            found = self._feed.listeners.get(target.listener)
            if found is None:
                return [("Listener", target.listener)]
            return self._feed.lacking.get(found, ())
        return self._feed.lacking.get(target.listener, ())

    def lanes(self) -> list[dict[str, Any]]:
        """What became of the calls of each lane (or `baseline`) and service that was called so far:
        `lane`, `service`, how many were `answered_by` `lane`, `fallback`, `baseline` and `none`,
        and `leaks`, of those outside the lane though it had a healthy instance; JSON. A forked
        child counts anew, and asks nobody for this."""
        living = self._living
        return [] if living is None else living.router.lanes()

    def status(self) -> dict[str, Any]:
        """How it is with the control plane, each type and each target; JSON."""
        status = self._feed.status()
        return {
            "server": status.server,
            "node": self._options.node_id,
            "mode": self._options.mode,
            "protocol": "delta" if status.delta else "state of the world",
            "connected": status.connected,
            "since": status.since,
            "last_error": status.last_error,
            "types": {
                short(type_url): {
                    "version": each.version,
                    "resources": each.resources,
                    "awaited": list(each.awaited),
                    "missing": list(each.missing),
                    "error": each.error,
                }
                for type_url, each in status.types.items()
            },
            "awaited": {
                name: [f"{short(kind)} {each}" for kind, each in missing]
                for name, missing in self._feed.lacking.items()
            },
            "clusters": self._feed.router.clusters(),
            "lanes": self.lanes(),
            "last_known": str(self._options.last_known) if self._options.last_known else None,
        }

    def explain(
        self,
        target: str | Target,
        *,
        method: str | None = None,
        path: str | None = None,
        headers: Mapping[str, str] | Headers = (),
    ) -> Explanation:
        """Where a call would go and why, by the code that decides; nothing is sent.

        `method` is enough where a client of the target was made; else give the `path`. Raises as
        `call` does where nothing is known of the target.
        """
        found = target if isinstance(target, Target) else self.target(target)
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if path is None:
            path = self._paths.get(found.authority, "/") + (method or "")
        if method is not None:
            pairs = [("method", method), *(pair for pair in pairs if pair[0] != "method")]
        explained = self._explained(found, path, pairs)
        refused = explained["refused"]
        if refused is not None and refused["kind"] == NotKnown.__name__:
            try:
                self.call(found, path, pairs).abandoned()  # waits, as the first call would
            except NotReadyError:
                raise
            except MeltemiError:
                pass  # the explanation says so
            explained = self._explained(found, path, pairs)
        return Explanation(explained)

    def _explained(self, target: Target, path: str, headers: Headers) -> dict[str, Any]:
        listener = self._listeners.get(target.listener, target.listener)
        router = self._feed.router
        return router.explain(listener, target.authority, path, headers, self._caller)

    # === fork ===

    def before_fork(self) -> None:
        """See `fork`."""
        for hook in self._before_fork:
            hook()

    def after_fork_in_child(self) -> None:
        """The parent's thread is not here, and its locks may be held for ever: the first call makes
        all of it anew, and begins with what the parent knew."""
        self._birth = threading.Lock()
        if self._living is not None and not self._closed:
            self._living.forget_sockets()
            self._inherited.append(self._living)
            self._living, self._route = None, self._first_in_child
        for hook in self._in_child:
            hook()

    @property
    def _feed(self) -> Feed:
        living = self._living
        return living if living is not None else self._born()

    def _born(self) -> Feed:
        with self._birth:
            if self._living is None:
                made = self._inherited[-1].child()
                self._listeners, self._route = made.listeners, made.router.call
                self._living = made
                made.start()
            return self._living

    def _first_in_child(self, *call: Any) -> Call:
        return self._born().router.call(*call)


def _closed(*_call: object) -> Call:
    raise ClosedError("the mesh was closed")


def _named(missing: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    return [(short(kind), name) for kind, name in missing]


def _public(exc: Exception) -> MeltemiError:
    if isinstance(exc, DirectResponse):
        return DirectResponseError(exc.status, exc.body)
    if isinstance(exc, NoRoute):
        return NoRouteError(f"{exc}; mesh.explain says why, route by route")
    for kind, public in (
        (NoEndpoint, NoEndpointError),
        (Overflow, CircuitBreakerError),
    ):
        if isinstance(exc, kind):
            return public(str(exc))
    return MeltemiError(str(exc))
