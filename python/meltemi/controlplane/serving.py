"""What the xDS server asks for: the resources of a node in the mesh of this moment."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from meltemi.model import Mesh
from meltemi.translate import Resources, Translator
from meltemi.xds.resource import Node, Resource

MAX_NODES = 8192  # remembered between two meshes: more than the streams that are served at once
NOTHING: Mapping[str, Resource] = {}


class MeshSource:
    """`xds.server.Source` over one mesh at a time."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self._translator = Translator()
        self._nodes: dict[tuple[Hashable, ...], Resources] = {}
        self._asked: tuple[Node | None, Resources] = None, {}
        """The last answer: a stream asks for one type after the other."""

    def enter(self, mesh: Mesh) -> None:
        """From here on, nodes get what `mesh` says."""
        self.mesh = mesh
        self._nodes.clear()
        self._asked = None, {}

    def resources(self, node: Node, type_url: str) -> Mapping[str, Resource]:
        asked, found = self._asked
        if asked is not node:
            found = self.all(node)
            self._asked = node, found
        return found.get(type_url, NOTHING)

    def all(self, node: Node) -> Resources:
        """By type URL; the same object until the next mesh."""
        key = (node.id, node.client, node.namespace, node.labels)
        found = self._nodes.get(key)
        if found is None:
            if len(self._nodes) >= MAX_NODES:
                self._nodes.clear()
            found = self._nodes[key] = self._translator.resources(self.mesh, node)
        return found
