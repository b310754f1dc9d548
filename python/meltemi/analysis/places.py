"""Names that people give to what is in a mesh: a replica, a service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from meltemi.model import Instance, Mesh, MeshMode, Service, Workload
from meltemi.xds.resource import Client, Node

DOMAIN = "svc.cluster.local"

LISTED = 12
"""How many names a message lists."""


class UnknownNameError(LookupError):
    """What was named is not in the mesh, or means several. `hint` says what there is."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a workload."""

    workload: Workload
    instance: Instance

    @property
    def pod(self) -> str:
        """`POD.NAMESPACE`, which `--node` takes."""
        return f"{self.workload.pod(self.instance)}.{self.workload.namespace}"

    @property
    def node_id(self) -> str:
        return self.workload.node_id(self.instance)

    @property
    def client(self) -> Client:
        """What the replica's proxy is when nothing else is said."""
        match self.workload.mode:
            case MeshMode.PROXYLESS:
                return Client.SDK
            case MeshMode.GATEWAY:
                return Client.ENVOY
            case MeshMode.SIDECAR | MeshMode.NONE:
                return Client.SIDECAR


def replica(mesh: Mesh, name: str, namespace: str = "default") -> Replica:
    """The one replica that `NAME[-ORDINAL][.NAMESPACE]` or a node id means.

    Raises UnknownNameError."""
    found = replicas(mesh, name, namespace)
    if len(found) > 1:
        pods = listed(each.pod for each in found)
        raise UnknownNameError(f"{name} has several replicas: {pods}", "Name one of them.")
    return found[0]


def replicas(mesh: Mesh, name: str, namespace: str | None = "default") -> list[Replica]:
    """All replicas that a name means, at least one, in one namespace: where the name says none, in
    `namespace`; with None, in the only one that has the name. Raises UnknownNameError."""
    known = [
        Replica(workload, instance)
        for workload in mesh.workloads
        for instance in workload.instances
    ]
    if "~" in name:
        found = [each for each in known if each.node_id == name]
    else:
        near = {each.workload.namespace for each in known} if namespace is None else {namespace}
        full = {name, *(f"{name}.{each}" for each in near)}
        found = [each for each in known if each.pod in full]
        found = found or [each for each in known if _workload_name(each) in full]
    if len({each.workload.namespace for each in found}) > 1:
        pods = listed(each.pod for each in found)
        raise UnknownNameError(
            f"{name} is in several namespaces: {pods}", "Name one of them, or say -n NAMESPACE."
        )
    if found:
        return found
    pods = listed(each.pod for each in known)
    raise UnknownNameError(
        f"{name} is no replica of this mesh",
        f"There are: {pods}." if known else "The mesh has no workloads.",
    )


def _workload_name(each: Replica) -> str:
    return f"{each.workload.name}.{each.workload.namespace}"


def service(mesh: Mesh, name: str, namespace: str = "default") -> Service:
    """The service that a hostname, `NAME.NAMESPACE` or, near `namespace`, a `NAME` means; where
    nothing near has that name, the only one of the mesh with that name or Dubbo interface.

    Raises UnknownNameError."""
    wanted = name.lower().removesuffix(".")
    for hostname in (
        wanted,
        f"{wanted}.{namespace}.{DOMAIN}",
        f"{wanted}.{DOMAIN}",
        f"{wanted}.cluster.local",
    ):
        if hostname in mesh.services:
            return mesh.services[hostname]
    same = [each for each in mesh.services.values() if not {name, wanted}.isdisjoint(_names(each))]
    if len(same) == 1:
        return same[0]
    if same:
        hostnames = listed(each.hostname for each in same)
        raise UnknownNameError(f"{name} means several services: {hostnames}", "Name one of them.")
    raise UnknownNameError(
        f"there is no service {name}",
        f"There are: {listed(mesh.services)}." if mesh.services else "The mesh has no services.",
    )


def _names(of: Service) -> tuple[str, ...]:
    """What a service is called beside its hostname."""
    return (of.name, f"{of.name}.{of.namespace}", *([of.interface] if of.interface else ()))


def node(of: Replica, client: Client) -> Node:
    """The replica's proxy as it would present itself."""
    return _node(of.node_id, client, {})


def stranger(namespace: str, client: Client = Client.SIDECAR) -> Node:
    """A caller of a namespace of which nothing else is known."""
    return _node("", client, {"NAMESPACE": namespace})


def _node(node_id: str, client: Client, metadata: dict[str, str]) -> Node:
    user_agent = ""
    match client:
        case Client.SIDECAR | Client.SDK:
            metadata = {**metadata, "MELTEMI_CLIENT": client.value}
        case Client.GRPC:
            metadata = {**metadata, "GENERATOR": "grpc"}
        case Client.ENVOY:
            user_agent = "envoy"
        case Client.KITEX:
            pass
    return Node.of(node_id, metadata=metadata, user_agent_name=user_agent)


def listed(names: Iterable[str]) -> str:
    """Names in order, the first dozen of them."""
    ordered = sorted(names)
    more = len(ordered) - LISTED
    return ", ".join(ordered[:LISTED]) + (f" and {more} more" if more > 0 else "")
