"""How a command reaches the running mesh: which one, and JSON over its Unix socket.

Every way to fail is a `Failure` with what to do. Other side: `meltemi.controlplane.steering`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from meltemi.cli.errors import UNREACHABLE, Failure
from meltemi.controlplane import registry
from meltemi.controlplane.state import StateFolder, short_path

USAGE = 2
RESTART_S = 3.0  # a control plane that was killed is back within 2 s: wait for it
ANSWER_S = 60.0  # a change of a large mesh is checked, stored and pushed before it is answered

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


def mesh_option(command: AnyCommand) -> AnyCommand:
    """Adds `--mesh DIR`."""
    return click.option(
        "--mesh",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Directory of the running mesh (default: the only one that runs).",
    )(command)


def namespace_option(command: AnyCommand) -> AnyCommand:
    """Adds `-n NAMESPACE`."""
    return click.option("-n", "--namespace", default="default", show_default=True)(command)


def mesh_directory(mesh: Path | None) -> Path:
    """The directory of the mesh that is meant: `mesh`, else the only one that runs.

    Raises Failure: unreachable when there is none, wrong usage when there are several."""
    if mesh is not None:
        directory = mesh.resolve()
        if not is_running(directory):
            raise Failure(
                f"the mesh of {directory} does not run",
                f"Start it with `meltemi up {mesh}`.",
                UNREACHABLE,
            )
        return directory
    found = [directory for directory in registry.entries() if is_running(directory)]
    if not found:
        raise Failure(
            "no mesh runs",
            "Start one with `meltemi up DIR`, or give the directory of one with --mesh DIR.",
            UNREACHABLE,
        )
    if len(found) > 1:
        names = ", ".join(str(directory) for directory in found)
        raise Failure(f"several meshes run: {names}", "Say which with --mesh DIR.", USAGE)
    return found[0]


def is_running(directory: Path) -> bool:
    """Whether its control plane answers, or `up` is about to start that again."""
    return registry.answers(directory) or _is_alive(read_processes(directory).get("pid"))


def read_processes(directory: Path) -> dict[str, Any]:
    """The process table that `up` keeps; empty where `up` does not run the mesh."""
    try:
        found = json.loads(StateFolder(directory).processes.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class MeshClient:
    """Calls the control plane of the mesh in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, mesh: Path | None) -> MeshClient:
        return cls(mesh_directory(mesh))

    def read(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET. Raises Failure."""
        return self.call("GET", path, query)[1]

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> tuple[int, Any]:
        """The status, one of `accept`, and the JSON of the answer. Raises Failure for any other."""
        import httpx

        deadline = time.monotonic() + RESTART_S
        while True:
            try:
                response = self._send(method, path, query, body)
                break
            except (httpx.ConnectError, FileNotFoundError) as error:
                if time.monotonic() > deadline:
                    raise self._away() from error
                time.sleep(0.05)
            except httpx.TimeoutException as error:
                limit = f"{ANSWER_S:.0f} s"
                raise self._away(f"the control plane did not answer in {limit}") from error
            except httpx.HTTPError as error:
                raise self._away("the control plane ended before it answered") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise Failure(
                f"the control plane's answer is no JSON ({response.status_code})"
            ) from error
        if response.status_code not in accept:
            raise Failure(answer.get("error", "failed"), answer.get("hint", ""))
        return response.status_code, answer

    def _send(self, method: str, path: str, query: Mapping[str, str] | None, body: object) -> Any:
        import httpx

        with short_path(StateFolder(self.directory).socket) as socket:
            transport = httpx.HTTPTransport(uds=socket)
            with httpx.Client(
                transport=transport, base_url="http://localhost", timeout=ANSWER_S
            ) as client:
                return client.request(method, path, params=query, json=body)

    def _away(self, message: str = "the control plane does not answer") -> Failure:
        return Failure(
            f"{message} ({self.directory})",
            "See `meltemi status`; start the mesh with `meltemi up DIR`.",
            UNREACHABLE,
        )
