"""Which endpoint of a cluster a request's hash leads to, and by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meltemi import engine
from meltemi.translate import Resources
from meltemi.xds import messages

BY_HASH: Final = ("RING_HASH", "MAGLEV")


@dataclass(frozen=True, slots=True)
class Hashed:
    """What the engine makes of a request on its way to a cluster that balances by hash."""

    by: tuple[str, ...] = ()
    """What the route hashes, in words."""
    hash: int | None = None
    """None: the request has none of it, or that is not known."""

    @classmethod
    def of(cls, trace: Mapping[str, Any] | None) -> Hashed:
        """From a route of `engine.explain_route`."""
        if trace is None:
            return cls()
        return cls(tuple(map(str, trace["hash_policy"])), trace["hash"])


BY_CALLER: Final = Hashed(by=("address of the caller",))
"""A connection that is forwarded as TCP: nothing else is known of it."""


def chosen(cluster: str, hashed: Hashed, resources: Resources) -> dict[str, Any]:
    """`balancer` (Envoy's word), `hashed_by` (empty where nothing is hashed) and `endpoint`, the
    one that the request goes to; None where chance or load decides, or the request says too
    little."""
    resource = resources[messages.CLUSTER].get(cluster)
    if resource is None:
        return {"balancer": None, "hashed_by": [], "endpoint": None}
    described = messages.parse(messages.CLUSTER, resource.body)
    policy = described.LbPolicy.Name(described.lb_policy)
    if policy not in BY_HASH:
        return {"balancer": policy, "hashed_by": [], "endpoint": None}
    service = described.eds_cluster_config.service_name or cluster
    endpoints = resources[messages.ENDPOINT].get(service)
    endpoint = None
    if hashed.hash is not None and endpoints is not None:
        endpoint = engine.explain_endpoint(
            cluster, resource.body, service, endpoints.body, hashed.hash
        )
    return {"balancer": policy, "hashed_by": list(hashed.by), "endpoint": endpoint}


def lines(cluster: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `chosen` for people."""
    if cluster["balancer"] not in BY_HASH:
        return
    keys = " and ".join(cluster["hashed_by"])
    if not keys:
        yield "balanced by hash, but nothing of a request is hashed: by chance"
    elif cluster["endpoint"]:
        yield f"balanced by the hash of {keys}: goes to {cluster['endpoint']}"
    else:
        yield f"balanced by the hash of {keys}; by chance where a request has none"
