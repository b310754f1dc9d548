"""One service of a real control plane, with real endpoints, rules that a test writes, and the mesh
of its caller."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import yaml
from control_plane_process import running
from meltemi import proxyless
from meltemi.proxyless.mesh import Mesh

HOST = "books.mesh"
TARGET = f"{HOST}:9080"
VERSIONS = ("v1", "v2", "v3")

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: books}}
spec:
  hosts: [{host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: {protocol}-books, protocol: {protocol}}}]
  endpoints:
{endpoints}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: books}}
spec:
  host: {host}
  subsets:
{subsets}
"""
RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: books}}
spec:
  hosts: [{host}]
  http:
{http}
"""


@dataclass
class Ruled:
    """The service, and a mesh that calls it."""

    mesh: Mesh
    directory: Path
    written: int = 0

    def rules(self, http: str) -> None:
        """The http routes that hold from now on; returns when the mesh has them."""
        self.written += 1
        routes = yaml.safe_load(dedent(http))
        for number, route in enumerate(routes):
            route["name"] = f"w{self.written}-{number}"
        text = indent(yaml.safe_dump(routes), "  ")
        path = self.directory / "rules.yaml"
        (self.directory / "rules.new").write_text(RULES.format(host=HOST, http=text))
        (self.directory / "rules.new").replace(path)
        wanted = routes[-1]["name"]
        ends = time.monotonic() + 10
        while wanted not in str(self.mesh.explain(TARGET, path="/")):
            assert time.monotonic() < ends, str(self.mesh.explain(TARGET, path="/"))
            time.sleep(0.01)


@contextlib.contextmanager
def ruled(
    directory: Path, ports: tuple[int, int], protocol: str, versions: Mapping[str, int]
) -> Iterator[Ruled]:
    """Runs a control plane that knows `versions` of the service by their local ports."""
    directory.mkdir()
    endpoints = "\n".join(
        f"  - {{address: 127.0.0.1, ports: {{{protocol}-books: {port}}}, "
        f"labels: {{version: {name}}}}}"
        for name, port in versions.items()
    )
    subsets = "\n".join(f"  - {{name: {name}, labels: {{version: {name}}}}}" for name in versions)
    (directory / "service.yaml").write_text(
        SERVICE.format(host=HOST, protocol=protocol, endpoints=endpoints, subsets=subsets)
    )
    with running(directory, ports) as plane:
        connected = proxyless.connect(
            plane.xds, pod="a-caller", instance_ip="127.0.0.7", last_known="off"
        )
        with connected as mesh:
            yield Ruled(mesh, directory)
