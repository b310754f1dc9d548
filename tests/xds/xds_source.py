"""Resources and sources for the tests of both ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meltemi.xds import messages
from meltemi.xds.messages import CLUSTER, ENDPOINT, LISTENER, ROUTE, WORKLOAD
from meltemi.xds.resource import Node, Resource

NODE_ID = "sidecar~127.7.0.9~client-0.demo~demo.svc.cluster.local"
NODE = Node.of(
    NODE_ID,
    metadata={"MELTEMI_CLIENT": "sidecar"},
    user_agent_name="meltemi",
    user_agent_version="0.1.0",
)


def cluster(name: str, tag: str = "", *, eds: bool = True) -> Resource:
    made = messages.message_of(CLUSTER)(name=name, alt_stat_name=tag, type=3 if eds else 0)
    return messages.resource(name, made)


def endpoints(name: str, tag: str = "") -> Resource:
    made = messages.message_of(ENDPOINT)(cluster_name=name)
    if tag:
        made.named_endpoints[tag].SetInParent()
    return messages.resource(name, made)


def route(name: str, tag: str = "") -> Resource:
    """A route configuration whose one route goes to cluster `tag`."""
    made = messages.message_of(ROUTE)(name=name)
    made.virtual_hosts.add(name="all", domains=["*"]).routes.add().route.cluster = tag
    return messages.resource(name, made)


def routed_to(body: bytes) -> str:
    made = messages.message_of(ROUTE).FromString(body)
    return str(made.virtual_hosts[0].routes[0].route.cluster)


def listener(name: str, routes: Iterable[str] = (), tag: str = "") -> Resource:
    made = messages.message_of(LISTENER)(name=name, stat_prefix=tag)
    for each in routes:
        added = made.filter_chains.add().filters.add(name="meta")
        value = {"rds": {"route_config_name": each}}
        packed = messages.pack(messages.typed_struct(messages.META_PROTOCOL_PROXY, value))
        added.typed_config.CopyFrom(packed)
    return messages.resource(name, made)


def workload(address: str, tag: str = "") -> Resource:
    return messages.resource(address, messages.message_of(WORKLOAD)(workload={"name": tag}))


def by_name(resources: Iterable[Resource]) -> dict[str, Resource]:
    return {resource.name: resource for resource in resources}


class Held:
    """A source that gives every node the same; `put` and `remove` replace a type's mapping."""

    def __init__(self) -> None:
        self.types: dict[str, Mapping[str, Resource]] = {}
        self.asked_for: list[Node] = []

    def put(self, type_url: str, *resources: Resource) -> None:
        self.types[type_url] = {**self.types.get(type_url, {}), **by_name(resources)}

    def remove(self, type_url: str, *names: str) -> None:
        held = self.types.get(type_url, {})
        self.types[type_url] = {name: r for name, r in held.items() if name not in names}

    def view(self, type_url: str) -> Mapping[str, Resource]:
        return self.types.setdefault(type_url, {})

    def resources(self, node: Node, type_url: str) -> Mapping[str, Resource]:
        self.asked_for.append(node)
        return self.view(type_url)


def one_of_each() -> Held:
    """Listener `l` -> route `r` -> cluster `c` -> endpoints `c`, and a workload."""
    source = Held()
    source.put(CLUSTER, cluster("c"))
    source.put(ENDPOINT, endpoints("c"))
    source.put(LISTENER, listener("l", ["r"]))
    source.put(ROUTE, route("r", "c"))
    source.put(WORKLOAD, workload("127.7.0.9", "client"))
    return source
