"""Which nodes are answered: an id that names a replica of the mesh only with the token of that id.

Two kinds of nodes are answered without one: a workload without a sidecar (`mesh: proxyless`),
since gRPC's own client and Kitex cannot send a token in plaintext, and who is no workload at all.
Both get what any client may know. With `--require-token` nobody is answered without the token of
the id it claims; a wrong token is never taken for none where the id is a workload's."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from meltemi.controlplane.tokens import Tokens
from meltemi.model import Mesh, MeshMode
from meltemi.xds.resource import Node

MAX_NAMED = 1000  # unknown ids that were said; then they are said again
MAX_ANSWERED = 8192  # claims that were judged; a stream asks with each response

log = logging.getLogger("meltemi.controlplane")


class Access:
    """Judges claims against the mesh that `enter` gave last."""

    def __init__(self, tokens: Tokens, require_token: bool) -> None:
        self._tokens, self._require_token = tokens, require_token
        self._workloads: Mapping[tuple[str, str], MeshMode] = {}
        self._named: set[str] = set()
        self._answered: set[tuple[str, str]] = set()
        """Claims (id and what came as its proof) that are right as long as the workloads stay."""

    def enter(self, mesh: Mesh) -> None:
        workloads = {(each.namespace, each.name): each.mode for each in mesh.workloads}
        if workloads != self._workloads:
            self._workloads = workloads
            self._answered.clear()

    def is_workload(self, node: Node) -> bool:
        """Whether the id claims to be a replica of a workload, whatever its ordinal and address."""
        return self._mode(node) is not None

    def _mode(self, node: Node) -> MeshMode | None:
        """Of the workload that the id claims to be a replica of."""
        name, _, ordinal = node.pod.rpartition("-")
        return self._workloads.get((node.namespace, name)) if ordinal.isdigit() else None

    def authenticate(self, node_id: str, metadata: Mapping[str, str], peer: str) -> str | None:
        """None when the node is answered, else why it is not (`xds.server.Authenticate`)."""
        claim = (node_id, metadata.get("authorization", ""))
        if claim in self._answered:
            return None
        refused = self._judge(node_id, metadata, peer)
        if refused is None:
            if len(self._answered) >= MAX_ANSWERED:
                self._answered.clear()
            self._answered.add(claim)
        return refused

    def _judge(self, node_id: str, metadata: Mapping[str, str], peer: str) -> str | None:
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else None
        if self._tokens.is_proof(node_id, given):
            return None
        mode = self._mode(Node.of(node_id))
        if mode is MeshMode.PROXYLESS and given is None and not self._require_token:
            return None
        claims_workload = mode is not None
        if claims_workload or self._require_token:
            what = "is a workload's of this mesh" if claims_workload else "is not known"
            problem = "no token came with it" if given is None else "the token is another id's"
            return f"node id {node_id!r} {what}: {problem}"
        self._name(node_id, peer)
        return None

    def _name(self, node_id: str, peer: str) -> None:
        """Says once that a node is unknown; it is judged again with each response."""
        if node_id in self._named:
            return
        if len(self._named) >= MAX_NAMED:
            self._named.clear()
        self._named.add(node_id)
        log.warning(
            "node %s from %s is no workload of this mesh: it gets what any client may know",
            node_id,
            peer,
        )
