"""The service of `ruled_service`, and others, as a real istiod tells of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from istiod_process import Istiod
from meltemi import proxyless
from meltemi.proxyless.mesh import Mesh
from meltemi.proxyless.options import Mode

WAYS = ("grpc-delta", "grpc-sotw", "sidecar-delta", "sidecar-sotw")
"""How our client asks: as a gRPC client and as a sidecar, each by both protocols of xDS."""

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{host}]
  addresses: [{address}]
  location: {location}
  resolution: STATIC
  ports: [{{number: {port}, name: {port_name}{protocol}}}]
  endpoints:
{endpoints}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: default}}
spec:
  host: {host}
  subsets:
{subsets}
"""


@dataclass(frozen=True)
class Service:
    """A service of one port; `protocol` is what its port says, if anything."""

    name: str
    address: str
    versions: Mapping[str, int]
    protocol: str = "HTTP"
    host: str = ""
    port: int = 9080
    location: str = "MESH_INTERNAL"
    port_name: str = "main"

    @property
    def full_name(self) -> str:
        return self.host or f"{self.name}.default.svc.cluster.local"

    @property
    def target(self) -> str:
        return f"{self.host or self.name}:{self.port}"

    def write(self, directory: Path) -> None:
        """Takes the place of what was written before, as a whole."""
        endpoints = "\n".join(
            f"  - {{address: 127.0.0.1, ports: {{{self.port_name}: {port}}}, "
            f"labels: {{version: {version}}}}}"
            for version, port in self.versions.items()
        )
        subsets = "\n".join(
            f"  - {{name: {version}, labels: {{version: {version}}}}}" for version in self.versions
        )
        text = SERVICE.format(
            name=self.name,
            host=self.full_name,
            address=self.address,
            location=self.location,
            port=self.port,
            port_name=self.port_name,
            protocol=f", protocol: {self.protocol}" if self.protocol else "",
            endpoints=endpoints or "  []",
            subsets=subsets,
        )
        replace(directory / f"{self.name}.yaml", text)


def replace(path: Path, text: str) -> None:
    """No reader ever sees half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@contextlib.contextmanager
def asked(istiod: Istiod, way: str, **settings: Any) -> Iterator[Mesh]:
    """Our client, asking in one of the WAYS."""
    mode: Mode = "sidecar" if way.startswith("sidecar") else "grpc"
    delta = way.endswith("delta")
    given = {"pod": "a-caller", "instance_ip": "127.0.0.7", "last_known": "off", **settings}
    with proxyless.connect(istiod.xds, mode=mode, delta=delta, **given) as mesh:
        yield mesh
