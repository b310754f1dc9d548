"""What travels: a serialized resource, and the node that it is for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one type, serialized once; the same bytes go to every node that gets it."""

    name: str
    version: str
    """A hash of `body`."""
    body: bytes
    """The serialized message itself, not an Any around it."""


class Client(enum.Enum):
    """What kind of client a node is: it decides which resources the node can understand."""

    SIDECAR = "sidecar"
    SDK = "sdk"
    GRPC = "grpc"
    ENVOY = "envoy"
    KITEX = "kitex"
    """Anything else: a client that reads a sidecar's listeners, as Kitex does."""


RESOURCE_IN_SOTW: Final = "xds.config.resource-in-sotw"
"""The client feature that allows the `Resource` wrapper in state-of-the-world answers."""


TRACER: Final = "MELTEMI_TRACER"
"""In the metadata of a node: Envoy's tracer (`name`, `typed_config`), for its listeners."""


@dataclass(frozen=True)
class Node:
    """Who is at the other end of a stream, read once from its first request. Equal by its id."""

    id: str
    client: Client = field(default=Client.KITEX, compare=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    user_agent: str = field(default="", compare=False)
    """Name and version, for people: `envoy 1.40.0`."""
    features: frozenset[str] = field(default=frozenset(), compare=False)
    address: str = field(default="", compare=False)
    """INSTANCE_IP as the id claims it, "" when the id is not Istio's."""
    pod: str = field(default="", compare=False)
    namespace: str = field(default="", compare=False)

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """What its metadata says of the workload (Istio's `LABELS`), sorted."""
        labels = self.metadata.get("LABELS")
        if not isinstance(labels, Mapping):
            return ()
        return tuple(sorted((str(k), v) for k, v in labels.items() if isinstance(v, str)))

    @classmethod
    def parse(cls, message: Any) -> Node:
        """From `envoy.config.core.v3.Node`. An id of another form gives a node without place."""
        from google.protobuf import json_format

        metadata: dict[str, Any] = json_format.MessageToDict(message.metadata)
        return cls.of(
            message.id,
            metadata=metadata,
            user_agent_name=message.user_agent_name,
            user_agent_version=_version(message),
            features=frozenset(message.client_features),
        )

    @classmethod
    def of(
        cls,
        node_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        user_agent_name: str = "",
        user_agent_version: str = "",
        features: frozenset[str] = frozenset(),
    ) -> Node:
        """From its parts. Istio's id is `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`."""
        metadata = metadata or {}
        address, pod, namespace = "", "", ""
        parts = node_id.split("~")
        if len(parts) == 4:
            address = parts[1]
            pod, _, namespace = parts[2].partition(".")
        claimed = metadata.get("NAMESPACE")
        return cls(
            id=node_id,
            client=_client(metadata, user_agent_name),
            metadata=metadata,
            user_agent=f"{user_agent_name} {user_agent_version}".strip(),
            features=features,
            address=address,
            pod=pod,
            namespace=namespace or (claimed if isinstance(claimed, str) else ""),
        )


def _client(metadata: Mapping[str, Any], user_agent_name: str) -> Client:
    match metadata.get("MELTEMI_CLIENT"):
        case "sidecar":
            return Client.SIDECAR
        case "sdk":
            return Client.SDK
    if metadata.get("GENERATOR") == "grpc":
        return Client.GRPC
    return Client.ENVOY if user_agent_name == "envoy" else Client.KITEX


def _version(message: Any) -> str:
    if message.user_agent_version:
        return str(message.user_agent_version)
    if not message.HasField("user_agent_build_version"):
        return ""
    version = message.user_agent_build_version.version
    return f"{version.major_number}.{version.minor_number}.{version.patch}"
