"""The kinds of object that a mesh reads: groups, versions, schema and rules of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import (
    destination_rule,
    gateway,
    lane,
    meta_router,
    names,
    service,
    service_entry,
    virtual_service,
    workload,
    workload_entry,
)
from meltemi.config.schema.application_protocol import ApplicationProtocolSpec
from meltemi.config.schema.destination_rule import DestinationRuleSpec
from meltemi.config.schema.gateway import GatewaySpec
from meltemi.config.schema.lane import LaneGroupSpec, LaneSpec
from meltemi.config.schema.meta_router import MetaRouterSpec
from meltemi.config.schema.service import ServiceSpec
from meltemi.config.schema.service_entry import ServiceEntrySpec
from meltemi.config.schema.types import Schema
from meltemi.config.schema.virtual_service import VirtualServiceSpec
from meltemi.config.schema.workload import WorkloadSpec
from meltemi.config.schema.workload_entry import WorkloadEntrySpec

CORE = ""
ISTIO = "networking.istio.io"
METAPROTOCOL = "metaprotocol.aeraki.io"
MELTEMI = "meltemi.io"

DUBBO_AUTHORIZATION = "DubboAuthorizationPolicy"

VERSIONS: dict[str, tuple[str, ...]] = {
    ISTIO: ("v1", "v1beta1", "v1alpha3"),
    METAPROTOCOL: ("v1alpha1",),
    MELTEMI: ("v1alpha1",),
    "redis.aeraki.io": ("v1alpha1",),
    "dubbo.aeraki.io": ("v1alpha1",),
}
"""The groups that we serve. Of the core group it is `Service` alone."""

Rules = Callable[[Place, str], Iterator[Finding]]
NameRule = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """`schema` None: the kind is known and does nothing yet."""

    group: str
    name: str
    schema: type[Schema] | None = None
    rules: Rules = workload.no_rules
    name_error: NameRule = names.subdomain_error
    instead: str = "the object is known, and has no effect"
    """What happens, where there is no schema."""

    @property
    def versions(self) -> tuple[str, ...]:
        return VERSIONS[self.group] if self.group else ("v1",)


_ALL = (
    Kind(CORE, "Service", ServiceSpec, service.check, names.service_name_error),
    Kind(ISTIO, "ServiceEntry", ServiceEntrySpec, service_entry.check),
    Kind(ISTIO, "WorkloadEntry", WorkloadEntrySpec, workload_entry.check),
    Kind(ISTIO, "DestinationRule", DestinationRuleSpec, destination_rule.check),
    Kind(ISTIO, "VirtualService", VirtualServiceSpec, virtual_service.check),
    Kind(ISTIO, "Gateway", GatewaySpec, gateway.check),
    Kind(METAPROTOCOL, "MetaRouter", MetaRouterSpec, meta_router.check),
    Kind(METAPROTOCOL, "ApplicationProtocol", ApplicationProtocolSpec),
    Kind(MELTEMI, "Workload", WorkloadSpec, workload.check, names.label_error),
    Kind(MELTEMI, "LaneGroup", LaneGroupSpec, lane.check_group),
    Kind(MELTEMI, "Lane", LaneSpec, lane.check_lane, lane.name_error),
    *(
        Kind(ISTIO, name)
        for name in (
            "Sidecar",
            "EnvoyFilter",
            "WorkloadGroup",
            "ProxyConfig",
        )
    ),
    Kind("redis.aeraki.io", "RedisService"),
    Kind("redis.aeraki.io", "RedisDestination"),
    Kind(
        "dubbo.aeraki.io",
        DUBBO_AUTHORIZATION,
        instead="Dubbo ports of its namespace are closed: better refused than open to all",
    ),
    Kind(MELTEMI, "Protocol"),
)

KINDS: dict[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in _ALL}
