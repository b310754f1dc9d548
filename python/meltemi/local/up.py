"""`meltemi up`: the control plane, the sidecars that workloads ask for, and the workloads.

The control plane owns the mesh and says which workloads are to run; this process only runs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from meltemi.controlplane.tokens import Tokens
from meltemi.local import gateway
from meltemi.local.guardian import Guardian
from meltemi.local.process import Command, Process, resolve
from meltemi.local.proxyless import LAST_KNOWN, ProxylessNode
from meltemi.local.readiness import Readiness
from meltemi.local.state import State
from meltemi.local.steering import workload_versions
from meltemi.local.subnet import Subnet
from meltemi.local.tracing import Tracing

log = logging.getLogger("meltemi.local")

CONTROL_PLANE_BACKOFF_S = 0.05  # it is to be back within 2 s, and takes most of them to start
CONTROL_PLANE_LAST_BACKOFF_S = 1.0  # one that cannot start is no reason to keep a core busy
RECORD_S = 1.0  # a process table that could not be written is tried again after this
READY_S = 20.0  # a workload starts without its sidecar's word after this
LISTENS_S = 5.0  # a workload that does not listen by then is called ready all the same, and named
ON_THEIR_WAY_S = 0.2  # requests that were sent before an endpoint went
ADMIN_PORT = 15000
PROBLEM = re.compile(r"\S+Z (error|warning) ")


@dataclass(frozen=True)
class Options:
    """What the command line says beyond the directory."""

    access_log_format: str = "text"
    require_token: bool = False
    sidecar_limits: Mapping[str, int] = field(default_factory=dict)


class Up:
    """One running mesh."""

    def __init__(
        self,
        state: State,
        subnet: Subnet,
        options: Options,
        announce: Callable[[list[dict[str, Any]]], None],
        guardian: Guardian | None = None,
    ) -> None:
        """Raises StateError."""
        self.guardian = guardian
        self._state = state
        self._subnet = subnet
        self._options = options
        self._announce = announce
        self._tokens = Tokens.open(state.root)
        self._replicas: dict[str, Replica] = {}
        self._control_plane: Process | None = None
        self._tracing = Tracing(os.environ)
        self._started = time.time()
        self._replicas_changed = False
        self._recording: asyncio.TimerHandle | None = None
        self._readiness = Readiness(state.socket)
        self._telling: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self) -> None:
        """Runs until SIGINT or SIGTERM; then stops everything."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        await self._tracing.start()
        self._control_plane = self._start_control_plane()
        follow = asyncio.create_task(self._follow())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({follow, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        follow.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follow
        await self._stop()

    async def _follow(self) -> None:
        first = True
        announcing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async for workloads in workload_versions(self._state.socket):
            await self._readiness.tell()
            await self._reconcile(workloads)
            if first or self._replicas_changed:
                announcing.cancel()
                announcing = asyncio.create_task(self._announce_when_ready(workloads))
            first = False

    async def _announce_when_ready(self, workloads: list[dict[str, Any]]) -> None:
        starting = {replica.started for replica in self._replicas.values()}
        if starting:
            await asyncio.wait(starting)
            await self._readiness.tell()
            await self._readiness.known()
        with contextlib.suppress(OSError):  # a terminal that was closed
            self._announce(workloads)

    async def _reconcile(self, workloads: list[dict[str, Any]]) -> None:
        """Starts, stops and replaces replicas until those that run are those that are asked for."""
        wanted = {
            f"{instance['pod']}.{workload['namespace']}": (workload, instance)
            for workload in workloads
            for instance in workload["instances"]
        }
        gone = [key for key in self._replicas if key not in wanted]
        changed = [
            key
            for key, (workload, instance) in wanted.items()
            if key in self._replicas and self._replicas[key].differs(workload, instance)
        ]
        self._replicas_changed = bool(gone or changed or set(wanted) - set(self._replicas))
        await asyncio.gather(*(self._replicas.pop(key).stop() for key in (*gone, *changed)))
        new = [key for key in wanted if key not in self._replicas]
        for key in new:
            self._replicas[key] = Replica(key, *wanted[key], self)
            self._replicas[key].start()
        self.record()

    def _start_control_plane(self) -> Process:
        arguments = [
            sys.executable, "-m", "meltemi", "control-plane",
            "--config", str(self._state.directory), "--subnet", self._subnet.prefix,
        ]  # fmt: skip
        if self._options.require_token:
            arguments.append("--require-token")
        process = Process(
            "control-plane",
            Command(tuple(arguments), self.environment(), self._state.directory),
            self._state.logs / "control-plane.log",
            self.record,
            first_backoff_s=CONTROL_PLANE_BACKOFF_S,
            last_backoff_s=CONTROL_PLANE_LAST_BACKOFF_S,
            echo=lambda line: line,
            guardian=self.guardian,
        )
        process.start()
        return process

    def xds_address(self) -> str:
        """Where the control plane said it serves xDS."""
        return str(self._state.read("control-plane.json").get("xds", "127.0.0.1:15010"))

    def environment(self) -> dict[str, str]:
        """What every child finds: the user's variables, and where traces go."""
        return {**os.environ, **self._tracing.environment()}

    def token(self, node_id: str) -> str:
        """What a node of this mesh proves its id with."""
        return self._tokens.token(node_id).reveal()

    @property
    def state(self) -> State:
        return self._state

    @property
    def options(self) -> Options:
        return self._options

    def may_be_called(self, address: str, can: bool) -> None:
        """Has the control plane told that an instance can be called, or cannot any more."""
        if self._readiness.may_be_called(address, can) and not self._stopping:
            telling = asyncio.create_task(self._readiness.tell())
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def take_back(self, address: str) -> None:
        """Returns once nobody calls an instance any more that is about to stop."""
        if self._readiness.may_be_called(address, False) and not self._stopping:
            await self._readiness.tell()
            await self._readiness.known()
            await asyncio.sleep(ON_THEIR_WAY_S)

    def record(self) -> None:
        """Writes the process table that `meltemi status` shows."""
        if self._control_plane is not None:
            self._state.write_pid("control-plane", self._control_plane.pid)
        written = self._state.write(
            "processes.json",
            {
                "pid": os.getpid(),
                "started_at": self._started,
                "subnet": self._subnet.prefix,
                "traces": self._tracing.described(),
                "processes": [
                    *([_row(self._control_plane)] if self._control_plane else []),
                    *(row for replica in self._replicas.values() for row in replica.rows()),
                ],
            },
        )
        if not written and self._recording is None:
            self._recording = asyncio.get_running_loop().call_later(RECORD_S, self._record_again)

    def _record_again(self) -> None:
        """The table is to be right again once the disk has space."""
        self._recording = None
        self.record()

    async def _stop(self) -> None:
        log.info("stopping")
        self._stopping = True
        at_the_edge = [replica for replica in self._replicas.values() if replica.is_gateway]
        await asyncio.gather(*(replica.stop() for replica in at_the_edge))
        await asyncio.gather(*(replica.stop() for replica in self._replicas.values()))
        if self._control_plane is not None:
            await self._control_plane.stop()
            self._control_plane.pid = None
        self._replicas.clear()
        await self._tracing.close()
        self.record()
        self._state.remove("processes.json")


class Replica:
    """One replica of a workload: its process and, before it, its sidecar."""

    def __init__(
        self, key: str, workload: dict[str, Any], instance: dict[str, Any], up: Up
    ) -> None:
        self.key = key
        self._workload, self._instance, self._up = workload, instance, up
        self._app_spec = self._spec(workload, instance)
        self._bootstrap = f"bootstrap-{key}.json"
        self._sidecar: Process | None = None
        self._app: Process | None = None
        self._again: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """What looks whether processes that ended are back."""
        self._leaving = False
        if workload["mode"] == "sidecar":
            self._sidecar = self._make_sidecar()
        self._gateway: gateway.Gateway | None = None
        if workload["mode"] == "gateway":
            self._gateway = gateway.Gateway(workload, instance)
            self._app = self._make_gateway(self._gateway)
        elif workload["command"]:
            self._app = self._make_app()

    @staticmethod
    def _spec(workload: dict[str, Any], instance: dict[str, Any]) -> str:
        """What a replica is; another spec means that it is replaced.

        As in Kubernetes, a service that comes later does not restart who could call it: the
        variables of services are those of the replica's start."""
        own = [workload[key] for key in ("command", "mode", "labels", "env", "ports")]
        return json.dumps([own, instance["node_id"], instance["host"]], sort_keys=True)

    def differs(self, workload: dict[str, Any], instance: dict[str, Any]) -> bool:
        return self._spec(workload, instance) != self._app_spec

    @property
    def is_gateway(self) -> bool:
        return self._gateway is not None

    def start(self) -> None:
        """Begins; `started` ends when the replica can be called."""
        self.started = asyncio.create_task(self._start(), name=self.key)

    async def _start(self) -> None:
        """The sidecar first: a workload's first call is to find its listeners."""
        if self._sidecar is not None:
            self._sidecar.start()
            if self._app is not None:
                await self._sidecar_ready()
        if self._app is not None:
            self._app.start()
            await self._app_listens()
        self._up.may_be_called(self._instance["address"], self._runs())

    def _runs(self) -> bool:
        processes = [each for each in (self._app, self._sidecar) if each is not None]
        return all(each.pid is not None for each in processes)

    def _changed(self) -> None:
        """A process started or ended. Without both of its processes a replica cannot be called;
        when they run again it is looked at again."""
        self._up.record()
        if not self.started.done() or self._leaving:
            return
        self._again.cancel()
        if self._runs():
            self._again = asyncio.create_task(self._start_again(), name=self.key)
        else:
            self._up.may_be_called(self._instance["address"], False)

    async def _start_again(self) -> None:
        if self._sidecar is not None:
            await self._sidecar_ready()
        if self._app is not None:
            await self._app_listens()
        self._up.may_be_called(self._instance["address"], self._runs())

    async def stop(self) -> None:
        """Its endpoint first, then the workload: what it answers still reaches its callers."""
        self._leaving = True
        self.started.cancel()
        self._again.cancel()
        await asyncio.wait({self.started})
        await self._up.take_back(self._instance["address"])
        if self._gateway is not None and self._app is not None and self._app.pid is not None:
            await gateway.drain(self._up.state.root / self._gateway.admin_socket)
        if self._app is not None:
            await self._app.stop()
        if self._sidecar is not None:
            await self._sidecar.stop()
        self._up.state.remove(self._bootstrap)
        if self._gateway is not None:
            self._up.state.remove(self._gateway.admin_socket)

    def rows(self) -> list[dict[str, Any]]:
        about = {
            "workload": self._workload["name"],
            "namespace": self._workload["namespace"],
            "node": self._instance["node_id"],
            "address": self._instance["address"],
            "mode": self._workload["mode"],
        }
        rows = [_row(p) for p in (self._app, self._sidecar) if p is not None]
        if self._gateway is not None and self._app is None:
            rows = [_no_process(self.key, gateway.MISSING)]
        return [{**row, **about} for row in rows]

    async def _sidecar_ready(self) -> None:
        url = f"http://{self._instance['address']}:{ADMIN_PORT}/ready"
        deadline = time.monotonic() + READY_S
        async with httpx.AsyncClient(timeout=1) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        log.warning(
            "%s starts without its sidecar: that is not ready after %.0f s", self.key, READY_S
        )

    async def _app_listens(self) -> None:
        """Waits for the workload's ports, so that "ready" means: it can be called."""
        waiting = [port["port"] for port in self._workload["ports"]]
        deadline = time.monotonic() + LISTENS_S
        while waiting and time.monotonic() < deadline:
            try:
                _, writer = await asyncio.open_connection(self._instance["host"], waiting[0])
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            waiting.pop(0)
        if waiting:
            ports = ", ".join(str(port) for port in waiting)
            where = f"{self._instance['host']}:{ports}"
            log.warning("%s does not listen on %s after %g s", self.key, where, LISTENS_S)

    def _make_sidecar(self) -> Process:
        up, instance = self._up, self._instance
        node_id = instance["node_id"]
        labels = [f"--label={key}={value}" for key, value in self._workload["labels"].items()]
        limits = [f"--limit={name}={value}" for name, value in up.options.sidecar_limits.items()]
        arguments = (
            sys.executable, "-m", "meltemi", "sidecar",
            "--xds", up.xds_address(), "--node", node_id, *labels, *limits,
            "--access-log", "-", "--access-log-format", up.options.access_log_format,
        )  # fmt: skip
        environment = {**up.environment(), "MELTEMI_XDS_TOKEN": up.token(node_id)}
        return Process(
            f"{self.key} sidecar",
            Command(arguments, environment, up.state.directory),
            up.state.logs / f"{self.key}.sidecar.log",
            self._changed,
            echo=self._problems,
            guardian=up.guardian,
        )

    def _problems(self, line: str) -> str | None:
        """What a sidecar warns of is shown where `up` runs; its access log is not."""
        return f"{self.key} sidecar: {line}" if PROBLEM.match(line) else None

    def _make_app(self) -> Process:
        up = self._up
        own = {}
        if self._workload["mode"] == "proxyless":
            own = self._own_client(up.xds_address(), up.token(self._instance["node_id"]))
        return Process(
            self.key,
            Command(
                resolve(self._workload["command"], sys.executable),
                {
                    **up.environment(),
                    "PYTHONUNBUFFERED": "1",
                    **own,
                    **self._instance["environment"],
                },
                Path(self._workload.get("dir") or up.state.directory),
            ),
            up.state.logs / f"{self.key}.log",
            self._changed,
            guardian=up.guardian,
        )

    def _make_gateway(self, of: gateway.Gateway) -> Process | None:
        """None where there is no Envoy to run."""
        up = self._up
        binary = gateway.envoy_binary()
        if binary is None:
            log.error("%s %s", self.key, gateway.MISSING)
            return None
        token = up.token(self._instance["node_id"])
        environment = {**up.environment(), **self._instance["environment"]}
        up.state.write(self._bootstrap, of.bootstrap(up.xds_address(), token, environment))
        return Process(
            self.key,
            Command(
                of.arguments(binary, up.state.root / self._bootstrap),
                environment,
                up.state.root,
            ),
            up.state.logs / f"{self.key}.log",
            self._changed,
            guardian=up.guardian,
        )

    def _own_client(self, xds_address: str, token: str) -> dict[str, str]:
        """What a workload without a sidecar asks the control plane with."""
        node = ProxylessNode(self._workload, self._instance)
        self._up.state.write(self._bootstrap, node.grpc_bootstrap(xds_address))
        root = self._up.state.root
        return node.environment(xds_address, token, root / self._bootstrap, root / LAST_KNOWN)


def _no_process(name: str, problem: str) -> dict[str, Any]:
    nothing = {"pid": None, "restarts": 0, "started_at": None}
    return {"name": name, "problem": problem, **nothing}


def _row(process: Process) -> dict[str, Any]:
    return {
        "name": process.name,
        "pid": process.pid,
        "restarts": process.restarts,
        "problem": process.problem if process.pid is None else None,
        "started_at": process.started_at,
    }
