"""The shell of the client that asks on demand: one thread, one socket, one ADS stream kept up.

For processes that have no event loop, or fork: nothing here is shared with a parent's gRPC. All of
the state belongs to the thread; others `post` what it shall do. `proxyless` owns one.
"""

from __future__ import annotations

import contextlib
import logging
import random
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meltemi.secret import Secret
from meltemi.xds import discovery, messages
from meltemi.xds.client_on_demand import OnDemandState
from meltemi.xds.client_state import Request
from meltemi.xds.client_values import Update
from meltemi.xds.grpc_stream import GrpcStream, Metadata
from meltemi.xds.resource import Node
from meltemi.xds.shell import (
    CONNECT_S,
    KEEPALIVE_S,
    ClientStatus,
    OnUpdate,
    backoff_s,
    node_message,
    short,
)

log = logging.getLogger("meltemi.xds.client")

PING_TIMEOUT_S: Final = 10.0
ACCEPTED_S: Final = 1.0
"""Who has nothing new for us says nothing: a stream that was not ended for so long is up."""
READ_BYTES: Final = 256 * 1024
READS: Final = 4
"""After so many in a row other things have their turn, whatever more comes."""
ENDPOINTS_EVERY_S: Final = 0.1
"""How often endpoints that go on changing are taken: each time holds up calls of other threads. The
first change is taken at once, and so is all that a caller waits for."""
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
"""A server that makes us answer and does not read the answers is left."""
SERVICE: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

Post = Callable[[OnDemandState, float], list[Request]]
"""What to do with the state, now; returns what to send."""


@dataclass(frozen=True, slots=True)
class Server:
    """Who is asked, and how it is reached."""

    address: str
    """`HOST:PORT`, `[V6]:PORT` or `unix:PATH`."""
    token: Callable[[], Secret] | None = None
    """Called for each connection. Raises OSError or ValueError where there is none."""
    metadata: tuple[tuple[str, str], ...] = ()
    """Sent beside the token."""
    tls: bool = False
    ca: Path | None = None
    """PEM; None: what the machine trusts."""
    server_name: str | None = None


class _Lost(Exception):
    """The stream ended; why."""

    def __init__(self, reason: str, *, again_at_once: bool = False) -> None:
        super().__init__(reason)
        self.again_at_once = again_at_once


class BlockingAdsClient:
    """Keeps a stream up in a thread of its own, from `start` to `close`.

    `on_update` and `on_change` are called in that thread; `on_change(state)` after anything that
    others may wait for: resources that came, names that do not exist, a stream that came or went.
    It returns when it wants to be called again, in seconds, or None.
    """

    def __init__(
        self,
        server: Server,
        node: Node,
        state: OnDemandState,
        *,
        on_update: OnUpdate,
        on_change: Callable[[OnDemandState], float | None],
        delta: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self._server, self._node, self._state = server, node, state
        self._on_update, self._on_change = on_update, on_change
        self._delta = delta
        self._rng = rng or random.Random()
        self._posts: deque[Post] = deque()
        self._closed = False
        self._status = ClientStatus(server.address, delta, False, None, None, state.status())
        self._attempt = 0
        self._call_again: float | None = None
        self._socket: socket.socket | None = None
        self._stream: GrpcStream | None = None
        self._introduced = False
        """Whether the stream was told who we are."""
        self._heard_at = self._began_at = 0.0
        self._read_again_at = 0.0
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="meltemi-xds", daemon=True)

    # === for other threads ===

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Ends the thread; an update that is being applied is waited for."""
        self._closed = True
        self._wake()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(timeout_s)

    def post(self, what: Post) -> None:
        """Has the thread do it, soon. Never blocks."""
        self._posts.append(what)
        self._wake()

    def status(self) -> ClientStatus:
        return self._status

    def forget_sockets(self) -> None:
        """In a forked child: lets go of what it inherited, so that the parent's end is the end. The
        thread is the parent's; nothing else of this object may be used."""
        for each in (self._socket, self._wake_in, self._wake_out):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it ended
            self._wake_out.send(b"\0")

    # === the thread ===

    def _run(self) -> None:
        try:
            while not self._closed:
                again_at_once = self._one_stream()
                if self._closed:
                    break
                wait_s = 0.0 if again_at_once else backoff_s(self._attempt, self._rng)
                self._attempt += not again_at_once
                self._rest(wait_s)
        finally:
            self._changed()
            for each in (self._socket, self._wake_in, self._wake_out):
                if each is not None:
                    each.close()

    def _one_stream(self) -> bool:
        """One stream, from its connection to its end; whether to try again without a pause."""
        try:
            with self._connected() as connection:
                self._socket = connection
                self._serve(connection)
            return False
        except _Lost as exc:
            self._lost(str(exc), expected=exc.again_at_once)
            return exc.again_at_once
        except (OSError, ValueError) as exc:
            self._lost(f"{type(exc).__name__}: {exc}")
            return False
        except Exception as exc:
            log.exception("the stream to %s ends for a fault of ours", self._server.address)
            self._lost(f"{type(exc).__name__}: {exc}")
            return False
        finally:
            self._socket = self._stream = None
            self._state.disconnect()

    def _connected(self) -> socket.socket:
        address = self._server.address
        if address.startswith("unix:"):
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(CONNECT_S)
            made.connect(address.removeprefix("unix:"))
            return made
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        made = socket.create_connection((host, int(port)), CONNECT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._server.tls:
            return made
        context = ssl.create_default_context(cafile=self._server.ca)
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(made, server_hostname=self._server.server_name or host)

    def _metadata(self) -> list[tuple[str, str]]:
        found = list(self._server.metadata)
        if self._server.token is not None:
            found.append(("authorization", f"Bearer {self._server.token().reveal()}"))
        return found

    def _serve(self, connection: socket.socket) -> None:
        method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
        address = self._server.address
        authority = "localhost" if address.startswith("unix:") else address
        stream = GrpcStream(SERVICE + method, authority, self._metadata())
        self._stream = stream
        self._heard_at = self._began_at = _now()
        connection.setblocking(False)
        self._introduced = False
        self._send(self._state.connect(_now()))
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            unsent, more = b"", False
            while not self._closed:
                self._do_posts()
                unsent = _write(connection, unsent + stream.outgoing())
                if len(unsent) > MAX_UNSENT_BYTES:
                    raise _Lost(f"it does not read: {len(unsent)} bytes wait for it")
                if not unsent:
                    self._leave_calls_alone()
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
                selector.modify(connection, interest)
                # Of what was posted meanwhile, `_leave_calls_alone` may have taken the wake.
                selector.select(0.0 if more or self._posts else self._timeout())
                more = self._read(connection, stream)
                self._process()
                self._keep_alive(stream)

    def _leave_calls_alone(self) -> None:
        """Reads nothing for a while after endpoints changed, unless something is asked for."""
        while (left := self._read_again_at - _now()) > 0:
            if self._closed or self._posts or self._state.deadline(_now()) is not None:
                return
            self._wait_for_wake(left)

    def _read(self, connection: socket.socket, stream: GrpcStream) -> bool:
        """Takes what came; whether there may be more."""
        drain(self._wake_in)
        for _ in range(READS):
            data = _receive(connection)
            if data is None:
                return False
            self._heard_at = _now()
            for found in stream.receive(data):
                if isinstance(found, Metadata):
                    if discovery.WELCOME in found.headers:
                        self._up()
                    continue
                self._up()
                self._send(self._state.take(self._decode(found), _now()))
            if stream.ended is not None:
                self._process()
                self._ended(stream)
        return True

    def _decode(self, data: bytes) -> discovery.Response:
        decode = discovery.decode_delta_response if self._delta else discovery.decode_sotw_response
        return decode(data)

    def _ended(self, stream: GrpcStream) -> None:
        ended = stream.ended
        assert ended is not None
        if ended.code == "UNIMPLEMENTED" and self._delta:
            self._delta = False
            self._state.use_state_of_the_world()
            log.info("%s knows no delta: state of the world from now on", self._server.address)
            raise _Lost(str(ended), again_at_once=True)
        lasted = _now() >= self._began_at + ACCEPTED_S  # else a server could keep us busy
        raise _Lost(str(ended), again_at_once=lasted and "goes away" in ended.details)

    def _process(self) -> None:
        """Applies what may change now, and answers."""
        changed = False
        for type_url, name in self._state.expire(_now()):
            log.warning("the server has no %s %r", short(type_url), name)
            changed = True
        while (update := self._state.next_update(_now())) is not None:
            refused = self._apply(update)
            self._send(self._state.applied(refused, _now()))
            changed = True
            time.sleep(0)  # calls of other threads wait for this one's lock of the interpreter
        self._send(self._state.ask_again(_now()))
        if changed or (self._call_again is not None and _now() >= self._call_again):
            self._changed()

    def _apply(self, update: Update) -> Sequence[tuple[str, str]]:
        if not update.resources and not update.removed:
            return ()
        resources = [(resource.name, resource.body) for resource in update.resources]
        kind = short(update.type_url)
        try:
            refused = self._on_update(update.type_url, update.version, resources, update.removed)
        except Exception as exc:
            log.exception("cannot apply %s version %s", kind, update.version)
            return [(name, str(exc) or type(exc).__name__) for name, _body in resources]
        if update.type_url == messages.ENDPOINT:
            self._read_again_at = _now() + ENDPOINTS_EVERY_S
        taken, removed = len(resources) - len(refused), len(update.removed)
        log.debug("%s: %d taken, %d removed, %d refused", kind, taken, removed, len(refused))
        for name, reason in refused:
            log.warning("%s %r keeps its last good state: %s", kind, name, reason)
        return refused

    def _do_posts(self) -> None:
        posted = bool(self._posts)
        while self._posts:
            self._send(self._posts.popleft()(self._state, _now()))
        if posted:
            self._process()
            self._changed()

    def _send(self, requests: Iterable[Request]) -> None:
        """The first request of a stream says who we are."""
        if self._stream is None:
            return
        for request in requests:
            node = None if self._introduced else node_message(self._node)
            if isinstance(request, discovery.DeltaRequest):
                data = discovery.encode_delta_request(request, node)
            else:
                data = discovery.encode_sotw_request(request, node)
            self._stream.send(data)
            self._introduced = True

    def _timeout(self) -> float | None:
        """Until something is to be done although nothing comes."""
        now = _now()
        ends = [self._heard_at + KEEPALIVE_S]
        if self._stream is not None and self._stream.pings_unanswered:
            ends = [self._heard_at + KEEPALIVE_S + PING_TIMEOUT_S]
        if not self._status.connected and now < self._began_at + ACCEPTED_S:
            ends.append(self._began_at + ACCEPTED_S)
        ends += [end for end in (self._state.deadline(now), self._call_again) if end is not None]
        return max(0.0, min(ends) - now)

    def _keep_alive(self, stream: GrpcStream) -> None:
        heard = self._heard_at > self._began_at
        if heard and not self._status.connected and _now() >= self._began_at + ACCEPTED_S:
            self._up()
        silent_s = _now() - self._heard_at
        if silent_s >= KEEPALIVE_S + PING_TIMEOUT_S:
            raise _Lost(f"nothing came for {silent_s:.0f} s")
        if silent_s >= KEEPALIVE_S and not stream.pings_unanswered:
            stream.ping()

    def _rest(self, wait_s: float) -> None:
        """Between two streams: posts are done, so that waiters learn what is known."""
        until = _now() + wait_s
        while not self._closed:
            self._do_posts()
            self._process()
            ends = [until] if self._call_again is None else [until, self._call_again]
            left = min(ends) - _now()
            if _now() >= until:
                return
            self._wait_for_wake(left)

    def _wait_for_wake(self, left_s: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_in, selectors.EVENT_READ)
            selector.select(max(0.0, left_s))
        drain(self._wake_in)

    # === how it is going ===

    def _changed(self) -> None:
        self._refresh_status(self._status.connected, self._status.since, self._status.last_error)
        try:
            again_s = self._on_change(self._state)
        except Exception:
            log.exception("cannot tell what changed")
            again_s = None
        self._call_again = None if again_s is None else _now() + again_s

    def _refresh_status(self, connected: bool, since: float | None, error: str | None) -> None:
        address = self._server.address
        types: Mapping[str, Any] = self._state.status()
        self._status = ClientStatus(address, self._delta, connected, since, error, types)

    def _up(self) -> None:
        self._attempt = 0
        if not self._status.connected:
            self._refresh_status(True, time.time(), None)
            log.info("connected to %s as %s", self._server.address, self._node.id)
            self._changed()

    def _lost(self, reason: str, *, expected: bool = False) -> None:
        """`expected`: servers end streams now and then, and are asked again at once."""
        was = self._status
        since = time.time() if was.connected or was.since is None else was.since
        if was.connected or was.last_error != reason:  # not once for every attempt
            address = self._server.address
            level = logging.INFO if expected else logging.WARNING
            log.log(level, "no stream to %s, what was received stays: %s", address, reason)
        self._refresh_status(False, since, reason)
        self._changed()


def _now() -> float:
    return time.monotonic()


def drain(wake: socket.socket) -> None:
    """Takes all that a non-blocking socket holds."""
    with contextlib.suppress(OSError):
        while wake.recv(4096):
            pass


def _receive(connection: socket.socket) -> bytes | None:
    """What came; None when nothing did."""
    try:
        return connection.recv(READ_BYTES)
    except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def _write(connection: socket.socket, data: bytes) -> bytes:
    """Writes what goes; returns the rest."""
    while data:
        try:
            data = data[connection.send(data) :]
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
    return data
