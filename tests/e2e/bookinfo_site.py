"""`examples/bookinfo`, running: what its users and its operators do."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
from mesh import Mesh, eventually, running

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "bookinfo"
PRODUCT = "/api/v1/products/1"
FAILED = {"StatusMessage": "internal error", "StatusCode": 500}

Headers = Mapping[str, str] | Sequence[tuple[str, str]] | None


class Site:
    """The mesh, and a client outside of it that knows its gateway alone."""

    def __init__(self, mesh: Mesh, client: httpx.Client) -> None:
        self.mesh = mesh
        self.client = client

    def get(self, headers: Headers = None, path: str = PRODUCT) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def way(self, headers: Headers = None) -> tuple[str, ...]:
        """Who made an answer: `("details-v1", "reviews-v2", "ratings-v2")`."""
        answer = self.get(headers)
        assert answer.status_code == 200, answer.text
        pods = answer.headers["x-served-by"].split(",")
        return tuple(pod.rpartition("-")[0] for pod in pods[1:])

    def ways(self, requests: int, headers: Headers = None) -> Counter[tuple[str, ...]]:
        return Counter(self.way(headers) for _ in range(requests))

    def kill(self, name: str) -> None:
        """At once, as a machine that fails does. `meltemi up` starts it again."""
        pid = self.mesh.processes()[name]["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 5)

    @contextlib.contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[None]:
        """A document with `new` for `old`, until the end of the block."""
        path = self.mesh.directory / file
        before = path.read_text()
        assert before.count(old) == 1, f"{old!r} stands {before.count(old)} times in {file}"
        save(path, before.replace(old, new))
        try:
            yield
        finally:
            save(path, before)

    @contextlib.contextmanager
    def added(self, file: str, text: str) -> Iterator[None]:
        """A file more, until the end of the block."""
        path = self.mesh.directory / file
        save(path, text)
        try:
            yield
        finally:
            path.unlink()

    @contextlib.contextmanager
    def without(self, workload: str) -> Iterator[None]:
        """The workload has no instance, until the end of the block."""
        text = (self.mesh.directory / "mesh.yaml").read_text()
        head = re.search(rf"metadata: {{name: {workload}, .*\nspec:\n", text)
        assert head is not None, workload
        name = f"{workload}-0.default"
        with self.edited("mesh.yaml", head[0], f"{head[0]}  replicas: 0\n"):
            eventually(lambda: name not in self.mesh.processes(), 20)
            yield
        eventually(lambda: self._listens(f"{workload}.default"), 20)

    def _listens(self, workload: str) -> bool:
        found = self.mesh.workloads()[workload]
        address = found["instances"][0]["address"], found["ports"][0]["port"]
        with socket.create_connection(address, 1):
            return True


def save(path: Path, text: str) -> None:
    """As an editor does: no reader ever sees half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@contextlib.contextmanager
def serving(directory: Path, port: int) -> Iterator[Site]:
    """A copy of the example in `directory`, whose gateway is at `port`."""
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(EXAMPLE, directory, ignore=ignored)
    mesh_file = directory / "mesh.yaml"
    text = mesh_file.read_text()
    assert text.count("hostPort: 8080") == 1
    mesh_file.write_text(text.replace("hostPort: 8080", f"hostPort: {port}"))
    with (
        running(directory) as mesh,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        site = Site(mesh, client)
        eventually(lambda: site.get().status_code == 200, 20)
        yield site
