"""The examples, as meshes that tests run and edit: whom they hold, how they are called."""

from __future__ import annotations

import abc
import shutil
from pathlib import Path

import httpx
import yaml
from mesh import Mesh
from protocols import Connection, DubboConnection, ThriftConnection

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ENVIRONMENT = {"DUBBO_SAMPLE": "python"}
"""The pair that is there everywhere."""


class Sample(abc.ABC):
    """An example: two versions of a server and a client, each with its sidecar."""

    name: str
    namespace: str
    host: str
    server: str
    """Name of the server's workloads, without `-v1` and `-v2`, and of the DestinationRule."""
    client: str
    protocol: str

    def copy(self, folder: Path) -> Path:
        """A copy that a test may edit."""
        ignored = shutil.ignore_patterns(".*", "__pycache__", "target")
        return Path(shutil.copytree(EXAMPLES / self.name, folder / self.name, ignore=ignored))

    @abc.abstractmethod
    def connect(self, mesh: Mesh) -> Connection:
        """A connection to the client's sidecar."""

    @abc.abstractmethod
    def have_called(self, mesh: Mesh) -> None:
        """Has the client itself call, where it does not by itself."""

    def router(self, *shares: tuple[str, int]) -> str:
        """A MetaRouter that sends `sayHello` to subsets by weight; its rule is named after them."""
        route = {
            "name": "-".join(f"{subset}-{weight}" for subset, weight in shares),
            "match": {"attributes": {"method": {"exact": "sayHello"}}},
            "route": [
                {"destination": {"host": self.host, "subset": s}, "weight": w} for s, w in shares
            ],
        }
        return yaml.safe_dump(
            {
                "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
                "kind": "MetaRouter",
                "metadata": {"name": "hello", "namespace": self.namespace},
                "spec": {"hosts": [self.host], "routes": [route]},
            },
            sort_keys=False,
        )


class Thrift(Sample):
    name = "thrift"
    protocol = "thrift"
    namespace = "meta-thrift"
    host = "thrift-sample-server.meta-thrift.svc.cluster.local"
    server = "thrift-sample-server"
    client = "thrift-sample-client"

    def connect(self, mesh: Mesh) -> Connection:
        environment = mesh.environment(f"{self.client}.{self.namespace}")
        host = environment["THRIFT_SAMPLE_SERVER_SERVICE_HOST"]
        return ThriftConnection("framed-binary", host, 9090)

    def have_called(self, mesh: Mesh) -> None:
        """It calls every second."""


class Dubbo(Sample):
    name = "dubbo"
    protocol = "dubbo"
    namespace = "meta-dubbo"
    interface = "org.apache.dubbo.samples.basic.api.DemoService"
    host = interface.lower()
    server = "dubbo-sample-provider"
    client = "dubbo-sample-consumer"

    def connect(self, mesh: Mesh) -> Connection:
        environment = mesh.environment(f"{self.client}.{self.namespace}")
        host = environment[f"{self.host.upper().replace('.', '_')}_SERVICE_HOST"]
        return DubboConnection(host, 20880, interface=self.interface)

    def have_called(self, mesh: Mesh) -> None:
        """It calls when it is asked to."""
        environment = mesh.environment(f"{self.client}.{self.namespace}")
        address = f"{environment['INSTANCE_IP']}:{environment['PORT']}"
        httpx.get(f"http://{address}/hello?count=2", timeout=10).raise_for_status()


SAMPLES: dict[str, Sample] = {sample.name: sample for sample in (Thrift(), Dubbo())}
