"""The life of a sidecar: admin, engine, xDS stream, until a signal; then the drain.

Called by `meltemi sidecar`. Resources go from the stream to the engine as bytes; that decodes,
compiles and judges them outside the GIL. What it refuses is refused on the stream, by name."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meltemi import __version__
from meltemi.admin.http import HttpServer
from meltemi.admin.logs import LoopProblems
from meltemi.admin.sockets import bind
from meltemi.engine import Engine
from meltemi.secret import Secret
from meltemi.sidecar.admin import Admin
from meltemi.sidecar.holdings import Holdings
from meltemi.sidecar.node import SidecarNode
from meltemi.xds import messages
from meltemi.xds.client import AdsClient
from meltemi.xds.client_values import TypeStatus
from meltemi.xds.resource import Node
from meltemi.xds.shell import Accepted

log = logging.getLogger("meltemi.sidecar")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `admin` is HOST:PORT; times in seconds."""

    xds: str
    node: SidecarNode
    admin: str
    token: Secret | None = None
    workers: int = 1
    access_log: str | None = None
    access_log_format: str = "text"
    drain_s: float = 5.0
    limits: Mapping[str, int] = field(default_factory=dict)


class NoAddress(Exception):
    """The admin address is taken, or is not this machine's."""


class Sidecar:
    """One sidecar; `run` returns when it was drained."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._holdings = Holdings()
        self._stop = asyncio.Event()
        self._signals = 0
        node = options.node
        self._engine = Engine(
            workers=options.workers,
            source_address=node.address,
            node=node.metric_labels(),
            access_log=options.access_log,
            access_log_format=options.access_log_format,
            limits=dict(options.limits),
        )
        self._client = AdsClient(
            options.xds,
            Node.of(
                node.id,
                metadata=node.metadata(),
                user_agent_name="meltemi",
                user_agent_version=__version__,
            ),
            options.token.reveal() if options.token else None,
            on_update=self._update,
        )
        self._holdings.in_force = _Client(self._client)

    async def run(self) -> None:
        """Raises NoAddress when the admin address cannot be had."""
        options = self._options
        try:
            sock = bind(options.admin)
        except OSError as error:
            self._engine.close()
            raise NoAddress(f"cannot listen on {options.admin}: {error.strerror}") from error
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopProblems(log))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, functools.partial(self._signalled, number))
        admin = Admin(
            self._engine,
            self._holdings,
            {"id": options.node.id, "metadata": options.node.metadata()},
            self._state,
            self._stop.set,
            lambda: self._client.status().connected,
        )
        server = HttpServer(admin.handler())
        await server.start(sock)
        log.info("node %s: xDS %s, admin %s", options.node.id, options.xds, options.admin)
        async with self._client:
            await self._stop.wait()
        await self._drain()
        await server.close()

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal drains, the second ends the process at once."""
        self._signals += 1
        if self._signals > 1:
            log.warning("%s again: ending at once", number.name)
            os._exit(128 + number)
        log.info("%s: draining for at most %g s", number.name, self._options.drain_s)
        self._stop.set()

    async def _drain(self) -> None:
        drain = functools.partial(self._engine.drain, self._options.drain_s)
        finished = await asyncio.to_thread(drain)
        if not finished:
            log.warning("some requests were still in flight after %g s", self._options.drain_s)
        await asyncio.to_thread(self._engine.close)
        log.info("ended")

    def _update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
    ) -> list[tuple[str, str]]:
        """Gives one answer of the stream to the engine; what that refuses, by name and reason.

        Runs in the xDS client's thread."""
        rejected = self._engine.update(type_url, version, resources, removed)
        for name, reason in rejected:
            log.warning("refused %s %s: %s", type_url.rpartition(".")[2], name, reason)
        self._holdings.note(type_url, version, resources, removed, rejected, time.time())
        return rejected

    def _state(self) -> str:
        """Envoy's words, as `/ready` gives them."""
        if self._stop.is_set():
            return "DRAINING"
        return "LIVE" if self._has_configuration() else "PRE_INITIALIZING"

    def _has_configuration(self) -> bool:
        """Whether the first configuration is in force: everything that was asked for has come."""
        came = all(self._holdings.answered(each) for each in (messages.LISTENER, messages.CLUSTER))
        return came and not self._holdings.awaits()


class _Client:
    """The xDS client as `Holdings` sees it."""

    def __init__(self, client: AdsClient) -> None:
        self._client = client

    def resources(self, type_url: str) -> dict[str, Accepted]:
        return self._client.resources(type_url)

    def types(self) -> Mapping[str, TypeStatus]:
        return self._client.status().types
