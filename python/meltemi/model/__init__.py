"""The mesh as frozen values: what the operators' documents mean, without where they came from.

Built by `meltemi.config`, read by `meltemi.translate` and `meltemi.analysis`. Every value is
immutable and hashable, so that equal means unchanged."""

from meltemi.model.destination import (
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    Selection,
    Subset,
    TrafficPolicy,
)
from meltemi.model.gateway import Gateway, GatewayServer
from meltemi.model.lane import (
    BASELINE,
    BUCKETS,
    Lane,
    LaneEntry,
    LaneGroup,
    LaneService,
    Share,
    WorkloadSelector,
)
from meltemi.model.limit import LimitCondition, LocalRateLimit, TokenBucket
from meltemi.model.match import StringMatch
from meltemi.model.mesh import Mesh, ObjectRef
from meltemi.model.protocol import BUILT_IN_CODECS, ApplicationProtocol, port_protocol
from meltemi.model.route import (
    Destination,
    MetaRoute,
    MetaRouter,
    Mutation,
    WeightedDestination,
)
from meltemi.model.service import Endpoint, Resolution, Service, ServicePort
from meltemi.model.virtual_service import (
    Cors,
    DirectResponse,
    Fault,
    HeaderChanges,
    HttpDestination,
    HttpMatch,
    HttpRoute,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    VirtualService,
)
from meltemi.model.workload import Instance, MeshMode, Workload, WorkloadPort

__all__ = [
    "BASELINE",
    "BUCKETS",
    "BUILT_IN_CODECS",
    "ApplicationProtocol",
    "ConnectionPool",
    "ConsistentHash",
    "Cors",
    "Destination",
    "DestinationRule",
    "DirectResponse",
    "Endpoint",
    "Fault",
    "Gateway",
    "GatewayServer",
    "HeaderChanges",
    "HttpDestination",
    "HttpMatch",
    "HttpRoute",
    "Instance",
    "Lane",
    "LaneEntry",
    "LaneGroup",
    "LaneService",
    "LimitCondition",
    "LoadBalancer",
    "LocalRateLimit",
    "Mesh",
    "MeshMode",
    "MetaRoute",
    "MetaRouter",
    "Mirror",
    "Mutation",
    "ObjectRef",
    "OutlierDetection",
    "Redirect",
    "Resolution",
    "Retries",
    "RetryBudget",
    "Rewrite",
    "Selection",
    "Service",
    "ServicePort",
    "Share",
    "StringMatch",
    "Subset",
    "TokenBucket",
    "TrafficPolicy",
    "VirtualService",
    "WeightedDestination",
    "Workload",
    "WorkloadPort",
    "WorkloadSelector",
    "port_protocol",
]
