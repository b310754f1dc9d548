"""Our engine, in this process, with what a sidecar of a workload would get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from meltemi.engine import Engine
from meltemi.model import Mesh, Workload
from meltemi.translate import Translator
from meltemi.xds.resource import Node


@contextmanager
def engine(mesh: Mesh, workload: Workload) -> Iterator[Engine]:
    """It refuses nothing of what it gets."""
    node = Node.of(workload.node_id(workload.instances[0]), metadata={"MELTEMI_CLIENT": "sidecar"})
    names = ("workload", "namespace", "app", "version", "cluster")
    running = Engine(
        workers=1,
        source_address=None,
        node=dict.fromkeys(names, "test"),
        access_log=None,
        access_log_format="text",
        limits={},
    )
    with closing(running):
        for type_url, named in Translator().resources(mesh, node).items():
            resources = [(name, resource.body) for name, resource in named.items()]
            assert running.update(type_url, "1", resources) == []
        yield running
