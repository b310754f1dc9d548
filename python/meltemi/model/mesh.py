"""The whole mesh at one moment. A change of the configuration makes a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from meltemi.model.destination import DestinationRule
from meltemi.model.gateway import Gateway
from meltemi.model.lane import LaneGroup
from meltemi.model.protocol import ApplicationProtocol
from meltemi.model.route import MetaRouter
from meltemi.model.service import Service, visible
from meltemi.model.virtual_service import VirtualService
from meltemi.model.workload import Workload


class ObjectRef(NamedTuple):
    """Names one object of the configuration. A tuple: ten thousand of them are sorted and looked up
    with each edit."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Mesh:
    """Services by hostname, rules and workloads in the order of (namespace, name)."""

    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    destination_rules: tuple[DestinationRule, ...] = ()
    meta_routers: tuple[MetaRouter, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    application_protocols: tuple[ApplicationProtocol, ...] = ()
    workloads: tuple[Workload, ...] = ()
    lane_groups: tuple[LaneGroup, ...] = ()
    """What they stand for is in the rules already."""
    gateways: tuple[Gateway, ...] = ()
    gateway_services: tuple[VirtualService, ...] = ()
    """The routes of VirtualServices at gateways; `virtual_services` are those of the mesh."""

    def meta_router(self, hostname: str, caller_namespace: str) -> MetaRouter | None:
        """The rule of a host as a caller's namespace sees it: the lowest `namespace/name` wins."""
        for router in self.meta_routers:
            if router.host == hostname and visible(
                router.export_to, router.namespace, caller_namespace
            ):
                return router
        return None
