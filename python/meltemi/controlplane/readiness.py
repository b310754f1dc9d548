"""Which instances can be called, as whoever runs them says: callers are not told of the others.

Held in memory alone: `up` says it again to a control plane that started again. Where nobody says
anything, every instance can be called. Called by `process`, told by `steering`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from meltemi.model import Mesh, Service


class Readiness:
    """Marks the endpoints of the instances that cannot be called."""

    def __init__(self) -> None:
        self._ready: frozenset[str] | None = None
        self._marked: dict[str, tuple[Service, frozenset[str], Service]] = {}
        """By host: what it was made of, so that a service that stays is the same object."""

    def told(self, addresses: Iterable[str]) -> bool:
        """The addresses of the instances that can be called; whether these are others."""
        before, self._ready = self._ready, frozenset(addresses)
        return self._ready != before

    def served(self, mesh: Mesh) -> Mesh:
        """The same object where every instance can be called."""
        waiting = self._waiting(mesh)
        if not waiting:
            self._marked.clear()
            return mesh
        made = {host: self._with_marks(service, waiting) for host, service in mesh.services.items()}
        for host in self._marked.keys() - {h for h in made if made[h] is not mesh.services[h]}:
            del self._marked[host]
        return replace(mesh, services=MappingProxyType(made))

    def _waiting(self, mesh: Mesh) -> frozenset[str]:
        if self._ready is None:
            return frozenset()
        known = {each.address for workload in mesh.workloads for each in workload.instances}
        return frozenset(known - self._ready)

    def _with_marks(self, service: Service, waiting: frozenset[str]) -> Service:
        own = frozenset(
            each.address
            for _, some in service.endpoints
            for each in some
            if each.address in waiting
        )
        if not own:
            return service
        held = self._marked.get(service.hostname)
        if held is not None and held[0] is service and held[1] == own:
            return held[2]
        endpoints = tuple(
            (port, tuple(replace(e, ready=False) if e.address in own else e for e in some))
            for port, some in service.endpoints
        )
        made = replace(service, endpoints=endpoints)
        self._marked[service.hostname] = service, own, made
        return made
