"""The API that steers the mesh: JSON over HTTP on the Unix socket of the state folder.

Whoever can open the socket (mode 0600) may change the mesh, and so run commands as its user: hence
no TCP port. The commands of `meltemi.cli` and `meltemi up` are its clients."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from meltemi.admin.http import Handler, HttpError, Request, Response, as_json, router
from meltemi.analysis.explain import Question, explain
from meltemi.analysis.places import UnknownNameError
from meltemi.config import Object, Source
from meltemi.controlplane.mesh import Changed, HeldByFile, LiveMesh, NotFound, RefusedChange
from meltemi.controlplane.nodes import Push
from meltemi.controlplane.state import StateError
from meltemi.model import Mesh, ObjectRef, Workload
from meltemi.model.environment import environment

log = logging.getLogger("meltemi.controlplane")

LONG_POLL_S = 30.0  # then the same version is answered, and the caller asks again
INVALID = 422
NO_SPACE = 507


class Steering:
    """Handlers over one mesh; `status` gives what `meltemi status` shows."""

    def __init__(
        self,
        mesh: LiveMesh,
        status: Callable[[], dict[str, Any]],
        pushed: Callable[[], Awaitable[Push]],
        directory: str,
        served: Callable[[], Mesh] | None = None,
        ready: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        """`served`: the mesh that nodes are told of, where it is another; `ready`: takes the
        addresses of the instances that can be called."""
        self._mesh, self._status, self._pushed = mesh, status, pushed
        self._served, self._ready = served or (lambda: mesh.mesh), ready
        self._directory = directory
        self._entered = Mesh()
        self._workloads: tuple[str, list[dict[str, Any]]] = _workloads(self._entered, directory)
        self._changed = asyncio.Event()

    def handler(self) -> Handler:
        return router(
            (
                ("GET", "/v1/status", self._get_status),
                ("GET", "/v1/objects", self._get_objects),
                ("POST", "/v1/apply", self._apply),
                ("DELETE", "/v1/objects/{}/{}/{}", self._delete),
                ("GET", "/v1/workloads", self._get_workloads),
                ("PUT", "/v1/ready", self._put_ready),
                ("GET", "/v1/pushed", self._get_pushed),
                ("POST", "/v1/explain", self._explain),
            )
        )

    def enter(self, mesh: Mesh) -> None:
        """Wakes the long polls when the workloads of the new mesh are others."""
        before, self._entered = self._entered, mesh
        if before.workloads is mesh.workloads and before.services is mesh.services:
            return  # all that their environment is made of
        workloads = _workloads(mesh, self._directory)
        if workloads[0] != self._workloads[0]:
            self._workloads = workloads
            self._changed.set()
            self._changed = asyncio.Event()

    async def _get_status(self, _request: Request) -> Response:
        return as_json(self._status())

    async def _get_objects(self, request: Request) -> Response:
        query = request.query
        found = [
            self._shown(item)
            for item in self._mesh.objects
            if query.get("kind", item.ref.kind) == item.ref.kind
            and query.get("namespace", item.ref.namespace) == item.ref.namespace
            and query.get("name", item.ref.name) == item.ref.name
        ]
        return as_json({"objects": found})

    def _shown(self, item: Object) -> dict[str, Any]:
        return {
            **_ref(item.ref),
            "file": item.file,
            "line": item.line,
            "applied": self._mesh.is_applied(item),
            "document": item.raw,
        }

    async def _apply(self, request: Request) -> Response:
        namespace = request.query.get("namespace", "default")
        try:
            changed, warnings = self._mesh.apply(_sources(request), namespace)
        except RefusedChange as refused:
            return as_json({"issues": [issue.as_json() for issue in refused.issues]}, INVALID)
        except StateError as error:
            raise HttpError(NO_SPACE, str(error), error.hint) from error
        _log_changes(changed)
        return as_json(
            {
                "objects": [{**_ref(each.ref), "action": each.action} for each in changed],
                "issues": [issue.as_json() for issue in warnings],
                "nodes": (await self._pushed()).as_json(),
            }
        )

    async def _delete(self, _request: Request, kind: str, namespace: str, name: str) -> Response:
        ref = ObjectRef(kind, namespace, name)
        try:
            self._mesh.delete(ref)
        except NotFound as error:
            raise HttpError(404, str(error), f"see `meltemi get {kind} -A`") from error
        except HeldByFile as error:
            raise HttpError(
                409,
                f"{kind} {namespace}/{name} is held by {error.file}",
                "delete it in that file: meltemi never edits the files of the mesh",
            ) from error
        except StateError as error:
            raise HttpError(NO_SPACE, str(error), error.hint) from error
        _log_changes([Changed(ref, "deleted")])
        return as_json(
            {
                "objects": [{**_ref(ref), "action": "deleted"}],
                "issues": [],
                "nodes": (await self._pushed()).as_json(),
            }
        )

    async def _get_workloads(self, request: Request) -> Response:
        """What is to run; with `after=VERSION` once that is not the version any more."""
        after = request.query.get("after")
        if after == self._workloads[0]:
            changed = self._changed
            try:
                async with asyncio.timeout(LONG_POLL_S):
                    await changed.wait()
            except TimeoutError:
                pass
        version, workloads = self._workloads
        return as_json({"version": version, "workloads": workloads})

    async def _put_ready(self, request: Request) -> Response:
        """From `up`: the addresses of the instances that can be called."""
        try:
            addresses = [str(each) for each in json.loads(request.body)["addresses"]]
        except (ValueError, KeyError, TypeError) as error:
            raise HttpError(400, "the body is not {addresses: [ADDRESS]}") from error
        self._ready(addresses)
        return as_json({})

    async def _get_pushed(self, _request: Request) -> Response:
        """Once the nodes have acknowledged what they were sent."""
        return as_json((await self._pushed()).as_json())

    async def _explain(self, request: Request) -> Response:
        try:
            question = Question.from_json(json.loads(request.body))
            return as_json(await asyncio.to_thread(explain, self._served(), question))
        except UnknownNameError as error:
            raise HttpError(404, str(error), error.hint) from error
        except ValueError as error:
            raise HttpError(400, str(error)) from error


def _sources(request: Request) -> list[Source]:
    """The documents of a request: YAML as it is, or `{"sources": [{"name", "text"}]}` in JSON."""
    if "json" not in request.headers.get("content-type", ""):
        return [Source("-", request.body)]
    try:
        body = json.loads(request.body)
        return [Source(str(each["name"]), str(each["text"])) for each in body["sources"]]
    except (ValueError, KeyError, TypeError) as error:
        raise HttpError(400, "the body is not {sources: [{name, text}]}") from error


def _log_changes(changed: list[Changed]) -> None:
    for each in changed:
        if each.action != "unchanged":
            ref = each.ref
            log.info("%s %s/%s %s", ref.kind, ref.namespace, ref.name, each.action)


def _ref(ref: ObjectRef) -> dict[str, str]:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _workloads(mesh: Mesh, directory: str) -> tuple[str, list[dict[str, Any]]]:
    """Version and workloads; the same workloads have the same version, after a restart too."""
    workloads = [_workload(mesh, workload, directory) for workload in mesh.workloads]
    digest = hashlib.sha256(json.dumps(workloads, sort_keys=True).encode())
    return digest.hexdigest()[:16], workloads


def _workload(mesh: Mesh, workload: Workload, directory: str) -> dict[str, Any]:
    return {
        "namespace": workload.namespace,
        "name": workload.name,
        "labels": dict(workload.labels),
        "command": list(workload.command),
        "env": dict(workload.env),
        "ports": [
            {"name": port.name, "port": port.port, "host_port": port.host_port}
            for port in workload.ports
        ],
        "mode": workload.mode.value,
        "dir": directory,
        "instances": [
            {
                "ordinal": instance.ordinal,
                "pod": workload.pod(instance),
                "node_id": workload.node_id(instance),
                "address": instance.address,
                "host": instance.host,
                "service_addresses": [list(pair) for pair in instance.service_addresses],
                "environment": environment(mesh, workload, instance),
            }
            for instance in workload.instances
        ],
    }
