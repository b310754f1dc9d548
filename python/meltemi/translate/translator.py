"""The resources of each node, each built once and shared by all nodes that get it.

Three layers, each remembered by its inputs: a service as callers of one kind see it, a namespace's
view of all services, and what is a node's own (its listeners, the application behind it). A change
walks down only where something differs; what did not change is the same object as before, so that
the server sees by identity what it need not send."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from meltemi.lanes.edge_rules import RESOURCE
from meltemi.model import Mesh, Workload
from meltemi.translate import edge_rules, proxies, workloads
from meltemi.translate.builder import Builder, Named
from meltemi.translate.changes import affected
from meltemi.translate.dialect import Dialect
from meltemi.translate.index import Index
from meltemi.translate.views import View, refreshed, view
from meltemi.translate.virtual_services import NOBODY, Caller
from meltemi.xds import messages
from meltemi.xds.resource import Client, Node

Resources = Mapping[str, Named]
"""By type URL, then by name."""


KEPT_UNASKED: Final = 3
"""Meshes for which a view that nobody asks for is kept, to be made into the next one."""


MOST_VIEWS: Final = 1024
"""At once: nodes may claim labels as they like. The oldest is forgotten, and built again."""


@dataclass(slots=True)
class _Known:
    """A view, and what changed since: the hosts, and how many meshes came."""

    view: View
    affected: frozenset[str] = frozenset()
    unasked: int = 0


class Translator:
    """Keeps what it built for the last mesh. One mesh at a time; not for several threads."""

    def __init__(self) -> None:
        self._builder = Builder()
        self._mesh = Mesh()
        self._index = Index(self._mesh)
        self._views: dict[tuple[Dialect, str, Caller], _Known] = {}
        self._nobodies: dict[tuple[Client, str, Caller], Resources] = {}
        """Of all nodes of a kind and a namespace that have nothing of their own."""
        self._workload_builder = Builder(self._builder.built)
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
        dialect = Dialect.of(node.client)
        namespace = self._index.namespace(node.namespace)
        caller = self._index.caller(node) if dialect.takes_http_rules else NOBODY
        if proxies.is_nobody(self._index, node):
            key = (node.client, namespace, caller)
            found = self._nobodies.get(key)
            if found is None:
                if len(self._nobodies) >= MOST_VIEWS:
                    self._nobodies.clear()
                found = self._nobodies[key] = self._resources(node, namespace, caller)
            return found
        return self._resources(node, namespace, caller)

    def _resources(self, node: Node, namespace: str, caller: Caller) -> Resources:
        shared = self._view(Dialect.of(node.client), namespace, caller)
        proxy = proxies.Proxy(self._builder, self._index, node, shared)
        found = {
            messages.LISTENER: proxy.listeners(),
            messages.ROUTE: proxy.routes(),
            messages.CLUSTER: proxy.clusters(),
            messages.ENDPOINT: shared.endpoints,
            messages.WORKLOAD: self._workloads,
            messages.NAME_TABLE: shared.name_table,
        }
        if node.client is Client.SDK:
            found[messages.EXTENSION_CONFIG] = self._edge_rules()
        elif extensions := proxy.extensions():
            found[messages.EXTENSION_CONFIG] = extensions
        return found

    def _edge_rules(self) -> Named:
        groups = self._mesh.lane_groups
        limited = any(group.marks_from for group in groups)
        workloads = self._mesh.workloads if limited else ()
        made = self._builder.resource(
            messages.EXTENSION_CONFIG,
            RESOURCE,
            (groups, workloads),
            lambda: edge_rules.extension(groups, workloads),
        )
        return self._builder.merged("edge rules", ({made.name: made},))

    def _enter(self, mesh: Mesh) -> None:
        hosts = affected(self._mesh, mesh)
        self._builder.next_generation()
        self._nobodies.clear()
        if mesh.services.keys() != self._mesh.services.keys():
            self._builder.keep_scopes(lambda key: _is_of(mesh, key))
        self._index = Index(mesh, self._index)
        for key, known in list(self._views.items()):
            known.unasked += 1
            if hosts is None or known.unasked > KEPT_UNASKED:
                del self._views[key]
            else:
                known.affected |= hosts
        if mesh.workloads is not self._mesh.workloads:
            self._workload_builder.next_generation()
            addresses = tuple(self._addresses(workload) for workload in mesh.workloads)
            self._workloads = self._workload_builder.merged("workloads", addresses)
        self._mesh = mesh

    def _view(self, dialect: Dialect, namespace: str, caller: Caller) -> View:
        key = (dialect, namespace, caller)
        known = self._views.get(key)
        if known is None:
            made = view(self._builder, self._index, dialect, namespace, caller)
        elif known.unasked:
            hosts = known.affected
            made = refreshed(
                self._builder, self._index, dialect, namespace, known.view, hosts, caller
            )
        else:
            return known.view
        while len(self._views) >= MOST_VIEWS:
            del self._views[next(iter(self._views))]
        self._views[key] = _Known(made)
        return made

    def _addresses(self, workload: Workload) -> Named:
        def build() -> Named:
            return {
                instance.address: self._workload_builder.resource(
                    messages.WORKLOAD,
                    instance.address,
                    (workload, instance),
                    functools.partial(workloads.address, workload, instance),
                )
                for instance in workload.instances
            }

        return self._workload_builder.memo.get(
            ("workload", workload.namespace, workload.name), workload, build
        )


def _is_of(mesh: Mesh, key: Hashable) -> bool:
    """Whether a scope's key (dialect, hostname) is that of a service of the mesh."""
    return isinstance(key, tuple) and key[1] in mesh.services
