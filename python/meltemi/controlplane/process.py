"""The life of a control plane: state folder, mesh, xDS server, both APIs; until a signal.

Called by `meltemi control-plane`. A change of a file, or one that is applied, becomes a mesh in
`LiveMesh`; from there it reaches the xDS server, and through `Steering` the long polls of `up`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meltemi import __version__
from meltemi.admin.guard import check_bind, is_loopback, split_address
from meltemi.admin.http import HttpServer
from meltemi.admin.logs import LoopProblems
from meltemi.config import Loaded
from meltemi.config.files import watch
from meltemi.controlplane import addresses, nodes, ports, registry
from meltemi.controlplane.access import Access
from meltemi.controlplane.admin import Admin
from meltemi.controlplane.mesh import LiveMesh
from meltemi.controlplane.readiness import Readiness
from meltemi.controlplane.serving import MeshSource
from meltemi.controlplane.state import StateFolder, write_whole
from meltemi.controlplane.steering import Steering
from meltemi.controlplane.tokens import Tokens
from meltemi.model import Mesh
from meltemi.xds.server import AdsServer

log = logging.getLogger("meltemi.controlplane")

GARBAGE: Final = (20_000, 50, 50)
"""Thresholds of the collector. An edit makes mappings of all names of a view, which stay; with the
usual 700 objects the collector walks through them several times an edit, and finds nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says; None: the default, or the next free pair."""

    directory: Path
    xds_address: str | None = None
    admin_address: str | None = None
    subnet: str | None = None
    require_token: bool = False
    insecure: bool = False


class ControlPlane:
    """One control plane; `run` returns after a signal."""

    def __init__(self, options: Options, announce: Callable[[ports.Addresses], None]) -> None:
        """Takes the state folder. Raises StateError, RefusedAddress, ValueError."""
        for address in filter(None, (options.xds_address, options.admin_address)):
            check_bind(split_address(address)[0], options.insecure)
            if not is_loopback(split_address(address)[0]):
                log.warning("--insecure: other machines reach %s, without TLS", address)
        self._options, self._announce = options, announce
        self._state = StateFolder(options.directory)
        self._state.create()
        self._lock = self._state.take_lock()
        self._access = Access(Tokens.open(self._state.path), options.require_token)
        self._source = MeshSource()
        self._ads = AdsServer(self._source, self._access.authenticate)
        handed_out = addresses.read(self._state.addresses, options.subnet)
        self._mesh = LiveMesh(self._state, handed_out)
        self._steering = Steering(
            self._mesh,
            self._status,
            nodes.Pusher(self._ads.nodes, self._running).pushed,
            str(self._state.directory),
            lambda: self._source.mesh,
            self._take_ready,
        )
        self._readiness = Readiness()
        self._mesh.on_mesh.append(self._enter)
        self._listening = ports.Addresses("", "")
        self._started = time.time()

    async def run(self) -> None:
        """Raises SourceError, StateError, NoAddress before it serves anything."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopProblems(log))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        changes = watch(self._state.directory)
        self._mesh.start(await anext(changes))
        # What was read stays: without this the collector looks through all of it every few edits,
        # for 300 ms with 8,000 documents.
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        async with self._serving():
            following = asyncio.create_task(self._follow(changes))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            stopping.cancel()
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following  # raises where it ended by itself

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """Listens everywhere; says where, on the screen, in a file and in the registry."""
        before = ports.read(self._state.control_plane)
        pairs = ports.candidates(self._options.xds_address, self._options.admin_address, before)
        self._listening, admin_socket = await ports.listen(pairs, self._ads.start)
        admin = HttpServer(Admin(self._source, self._ads.nodes, self._counts).handler())
        steering = HttpServer(self._steering.handler())
        await admin.start(admin_socket)
        self._record()
        await steering.start(self._state.bind_socket())
        self._announce(self._listening)
        try:
            yield
        finally:
            registry.remove(self._state.directory, registry.folder())
            self._state.socket.unlink(missing_ok=True)
            await steering.close()
            await admin.close()
            await self._ads.stop()

    def _record(self) -> None:
        """For `up` and for the next start, which takes the same ports; not vital: said, and on."""
        found = {
            "xds": self._listening.xds,
            "admin": self._listening.admin,
            "pid": os.getpid(),
            "version": __version__,
        }
        try:
            registry.add(self._state.directory, registry.folder())
        except OSError as error:
            log.error("commands find this mesh only with --mesh: %s", error)
        try:
            write_whole(self._state.control_plane, json.dumps(found, indent=1).encode())
        except OSError as error:
            log.error("%s cannot be written: %s", self._state.control_plane, error.strerror)

    async def _follow(self, changes: AsyncIterator[Loaded]) -> None:
        async for loaded in changes:
            try:
                self._mesh.files_changed(loaded)
            except Exception:  # a bug of ours; nodes keep what they have
                log.exception("a change of the files could not be taken: what was there stays")

    def _take_ready(self, addresses: list[str]) -> None:
        if self._readiness.told(addresses):
            self._source.enter(self._readiness.served(self._mesh.mesh))
            self._ads.changed()

    def _enter(self, mesh: Mesh) -> None:
        self._source.enter(self._readiness.served(mesh))
        self._access.enter(mesh)
        self._ads.changed()
        self._steering.enter(mesh)

    def _running(self) -> frozenset[str]:
        return nodes.running_proxies(self._state.processes)

    def _counts(self) -> dict[str, int]:
        mesh = self._mesh.mesh
        return {
            "objects": len(self._mesh.objects),
            "services": len(mesh.services),
            "workloads": len(mesh.workloads),
            "issues": len(self._mesh.issues),
        }

    def _status(self) -> dict[str, Any]:
        """The answer of `GET /v1/status`."""
        return {
            "directory": str(self._state.directory),
            "control_plane": {
                "pid": os.getpid(),
                "version": __version__,
                "started_at": nodes.time_of(self._started),
            },
            "xds": self._listening.xds,
            "admin": self._listening.admin,
            "objects": len(self._mesh.objects),
            "nodes": nodes.as_json(self._ads.nodes(), self._access),
            "issues": [issue.as_json() for issue in self._mesh.issues],
        }
