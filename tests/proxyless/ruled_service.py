"""One service of a real control plane, with real endpoints, rules that a test writes, and the mesh
of its caller."""

from __future__ import annotations

import contextlib
import itertools
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
metadata: {{name: books, namespace: default}}
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
metadata: {{name: books, namespace: default}}
spec:
  host: {host}
  subsets:
{subsets}
"""
RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: books, namespace: default}}
spec:
  hosts: [{host}]
  http:
{http}
"""


NUMBERS = itertools.count(1)
"""Of rules that were written: their routes' names tell them apart."""


@dataclass
class Ruled:
    """The service, and a mesh that calls it."""

    mesh: Mesh
    directory: Path

    def rules(self, http: str) -> None:
        """The http routes that hold from now on; returns when the mesh has them."""
        wait_for(self.mesh, write_rules(self.directory, http))


def write_rules(directory: Path, http: str) -> str:
    """Returns how the names of these routes begin."""
    written = next(NUMBERS)
    routes = yaml.safe_load(dedent(http))
    for number, route in enumerate(routes):
        route["name"] = f"w{written}-{number}"
    text = indent(yaml.safe_dump(routes), "  ")
    (directory / "rules.new").write_text(RULES.format(host=HOST, http=text))
    (directory / "rules.new").replace(directory / "rules.yaml")
    return f"w{written}-"


def wait_for(mesh: Mesh, names: str) -> None:
    """Until the mesh tries routes whose names begin so."""
    ends = time.monotonic() + 10
    while names not in str(mesh.explain(TARGET, path="/")):
        assert time.monotonic() < ends, str(mesh.explain(TARGET, path="/"))
        time.sleep(0.01)


def write_service(directory: Path, protocol: str, versions: Mapping[str, int]) -> None:
    """The service with `versions` by their local ports, and a subset for each."""
    endpoints = "\n".join(
        f"  - {{address: 127.0.0.1, ports: {{{protocol}-books: {port}}}, "
        f"labels: {{version: {name}}}}}"
        for name, port in versions.items()
    )
    subsets = "\n".join(f"  - {{name: {name}, labels: {{version: {name}}}}}" for name in versions)
    text = SERVICE.format(host=HOST, protocol=protocol, endpoints=endpoints, subsets=subsets)
    (directory / "service.new").write_text(text)
    (directory / "service.new").replace(directory / "service.yaml")


@contextlib.contextmanager
def ruled(
    directory: Path, ports: tuple[int, int], protocol: str, versions: Mapping[str, int]
) -> Iterator[Ruled]:
    """Runs a control plane that knows `versions` of the service by their local ports."""
    directory.mkdir()
    write_service(directory, protocol, versions)
    with running(directory, ports) as plane:
        connected = proxyless.connect(
            plane.xds, pod="a-caller", instance_ip="127.0.0.7", last_known="off"
        )
        with connected as mesh:
            yield Ruled(mesh, directory)
