"""The resources of each node, each built once and shared by all nodes that get it.

Three layers, each remembered by its inputs: a service as callers of one kind see it, a namespace's
view of all services, and what is a node's own (its listeners, the application behind it). A change
walks down only where something differs; what did not change is the same object as before, so that
the server sees by identity what it need not send."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping

from meltemi.model import Mesh, Workload
from meltemi.translate import proxies, workloads
from meltemi.translate.builder import Builder, Named
from meltemi.translate.dialect import Dialect
from meltemi.translate.index import Index
from meltemi.translate.views import View, view
from meltemi.xds import messages
from meltemi.xds.resource import Node

Resources = Mapping[str, Named]
"""By type URL, then by name."""


class Translator:
    """Keeps what it built for the last mesh. One mesh at a time; not for several threads."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._mesh = Mesh()
        self._index = Index(self._mesh, self._builder.memo)
        self._views: dict[tuple[Dialect, str], View] = {}
        self._workloads: Named = {}

    @property
    def built(self) -> Counter[str]:
        """How many resources of each type were built and serialized since the start."""
        return self._builder.built

    def resources(self, mesh: Mesh, node: Node) -> Resources:
        """Everything that `node` may ask for. What did not change since the last mesh, or is the
        same for another node, is the same object."""
        if mesh is not self._mesh:
            self._enter(mesh)
        shared = self._view(Dialect.of(node.client), self._index.namespace(node.namespace))
        proxy = proxies.Proxy(self._builder, self._index, node, shared)
        return {
            messages.LISTENER: proxy.listeners(),
            messages.ROUTE: shared.routes,
            messages.CLUSTER: proxy.clusters(),
            messages.ENDPOINT: shared.endpoints,
            messages.WORKLOAD: self._workloads,
        }

    def _enter(self, mesh: Mesh) -> None:
        self._builder.memo.next_generation()
        self._mesh = mesh
        self._index = Index(mesh, self._builder.memo)
        self._views = {}
        addresses = tuple(self._addresses(workload) for workload in mesh.workloads)
        self._workloads = self._builder.merged("workloads", addresses)

    def _view(self, dialect: Dialect, namespace: str) -> View:
        key = (dialect, namespace)
        if key not in self._views:
            self._views[key] = view(self._builder, self._index, dialect, namespace)
        return self._views[key]

    def _addresses(self, workload: Workload) -> Named:
        def build() -> Named:
            return {
                instance.address: self._builder.resource(
                    messages.WORKLOAD,
                    instance.address,
                    (workload, instance),
                    functools.partial(workloads.address, workload, instance),
                )
                for instance in workload.instances
            }

        return self._builder.memo.get(
            ("workload", workload.namespace, workload.name), workload, build
        )
