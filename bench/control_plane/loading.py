"""10,000 documents made into a mesh, and one of them edited until the engine has it (G21)."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from meltemi.config import Source, build, load
from meltemi.engine import Engine
from meltemi.model.addresses import Addresses
from meltemi.translate.names import route as route_name
from meltemi.xds import messages
from meltemi.xds.client import AdsClient
from meltemi.xds.resource import Node

from control_plane import documents, processes

APPS = 10_000 // documents.DOCUMENTS_AN_APP
DOCUMENTS = APPS * documents.DOCUMENTS_AN_APP
FILES = 100
ROUNDS = 5
EDITS = 9
EDITED = 607
"""The application whose route is edited, in the middle of everything."""
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Load:
    """Medians of CPU seconds, and the ratio of the goal."""

    ours_s: float
    yaml_s: float
    against_yaml: float


@dataclass(frozen=True)
class Edit:
    """Medians of seconds: an edit until it is in the engine, the full load, and their ratio."""

    files: int
    edit_s: float
    load_s: float
    against_load: float


def full_load(rounds: int = ROUNDS) -> Load:
    """G21: the documents in one file, read, checked and built, against `CSafeLoader` alone."""
    text = documents.written([part for n in range(APPS) for part in documents.app(n)])
    ours, peer = [], []
    for _ in range(rounds):
        peer.append(_took(lambda: _only_yaml(text), time.process_time))
        ours.append(_took(lambda: _mesh([text]), time.process_time))
    return Load(
        statistics.median(ours),
        statistics.median(peer),
        statistics.median(one / other for one, other in zip(ours, peer, strict=True)),
    )


def one_edit(files: int = FILES, edits: int = EDITS) -> Edit:
    """G21: one of the documents, which stand in `files` files, is saved with another weight; until
    the engine of a sidecar has its routes. Against a full load of the same text."""
    return asyncio.run(_one_edit(files, edits))


def _took(work: Callable[[], None], clock: Callable[[], float]) -> float:
    gc.collect()
    began = clock()
    work()
    return clock() - began


def _only_yaml(text: str) -> None:
    read = list(yaml.load_all(text, yaml.CSafeLoader))
    assert len(read) == DOCUMENTS


def _mesh(texts: Sequence[str]) -> None:
    loaded = load([Source(f"apps-{n}.yaml", text.encode()) for n, text in enumerate(texts)])
    mesh, issues = build(loaded.objects, Addresses())
    assert len(loaded.objects) == DOCUMENTS and len(mesh.services) == APPS and not issues


class _Caller:
    """The sidecar of the workload that calls everything: its xDS client and its engine."""

    def __init__(self, plane: processes.ControlPlane) -> None:
        address = processes.address(plane.directory, "instance/ns-0/caller-0")
        node = Node.of(
            f"sidecar~{address}~caller-0.ns-0~ns-0.svc.cluster.local",
            metadata={"MELTEMI_CLIENT": "sidecar"},
        )
        self._engine = Engine(
            workers=1,
            source_address=address,
            node={},
            access_log=None,
            access_log_format="text",
            limits={},
        )
        self._engine.set_log_level("error")
        self.client = AdsClient(plane.xds, node, plane.token(node.id), on_update=self._update)
        self.routes = 0
        self.edited_at = 0.0

    def _update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str],
    ) -> Sequence[tuple[str, str]]:
        refused = self._engine.update(type_url, version, resources, removed)
        assert not refused, refused
        if type_url == messages.ROUTE:
            self.routes += len(resources)
            if any(name == route_name(documents.host(EDITED), 9090) for name, _ in resources):
                self.edited_at = time.perf_counter()
        return refused

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.02)

    def has_edit_since(self, moment: float) -> bool:
        return self.edited_at > moment

    def close(self) -> None:
        self._engine.close()


async def _one_edit(files: int, edits: int) -> Edit:
    with tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder:
        directory = Path(folder)
        documents.write(directory, APPS, files)
        texts = [path.read_text() for path in sorted(directory.glob("apps-*.yaml"))]
        with processes.control_plane(directory) as plane:
            caller = _Caller(plane)
            try:
                async with caller.client:
                    await caller.until(lambda: caller.routes >= APPS)
                    return await _edits(directory, texts, caller, edits)
            finally:
                caller.close()


async def _edits(directory: Path, texts: list[str], caller: _Caller, edits: int) -> Edit:
    before = documents.router(EDITED)
    path = next(p for p in directory.glob("apps-*.yaml") if before in p.read_text())
    text = path.read_text()
    took, loads = [], []
    for number in range(edits + 1):
        await asyncio.sleep(0.3)
        weight = 20 if number % 2 == 0 else 80
        edited = text.replace(before, documents.router(EDITED, weight))
        began = time.perf_counter()
        path.write_text(edited)
        await caller.until(partial(caller.has_edit_since, began))
        if number:  # the first warms up
            took.append(caller.edited_at - began)
        if number % 3 == 1:
            loads.append(await asyncio.to_thread(_took, lambda: _mesh(texts), time.perf_counter))
    edit, whole = statistics.median(took), statistics.median(loads)
    return Edit(len(texts), edit, whole, edit / whole)


if __name__ == "__main__":
    print(full_load())
    print(one_edit())
    print(one_edit(files=1))
