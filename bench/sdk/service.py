"""The service that is called, its server, and the documents that a mesh knows it by.

    python bench/sdk/service.py PORT

serves it: thriftpy2's threaded server in `mesh_server`, which answers TTHeader and framed Thrift
alike, so that it is the same server for all. Ends with SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import thriftpy2

IDL: Final = Path(__file__).with_name("hello.thrift")
HOST: Final = "hello.mesh"
TARGET: Final = f"{HOST}:9090"
START_S: Final = 30.0

DOCUMENTS: Final = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: hello}}
spec:
  hosts: [{host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9090, name: tcp-hello, protocol: TCP}}]
  endpoints:
  - {{address: 127.0.0.1, ports: {{tcp-hello: {port}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{tcp-hello: {port}}}, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: hello}}
spec:
  host: {host}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: hello}}
spec:
  hosts: [{host}]
  http:
  - match: [{{uri: {{exact: /hello.HelloService/sayGoodbye}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
  - match: [{{headers: {{baggage: {{exact: env=canary}}}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
  - match: [{{headers: {{user: {{prefix: beta-}}}}}}]
    route: [{{destination: {{host: {host}, subset: v2}}}}]
  - route:
    - {{destination: {{host: {host}, subset: v1}}, weight: 80}}
    - {{destination: {{host: {host}, subset: v2}}, weight: 20}}
"""


def loaded() -> Any:
    """The IDL as thriftpy2 makes a module of it."""
    return thriftpy2.load(str(IDL), module_name="hello_thrift")


def write(directory: Path, port: int) -> None:
    """The service as a mesh knows it: one server as two versions, and four routes."""
    (directory / "hello.yaml").write_text(DOCUMENTS.format(host=HOST, port=port))


@contextlib.contextmanager
def served(port: int) -> Iterator[None]:
    """A process that serves it, from when it listens."""
    process = subprocess.Popen([sys.executable, __file__, str(port)])
    try:
        ends = time.monotonic() + START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError("the server of the benchmark did not start")
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class _Handler:
    def sayHello(self, name: str) -> str:
        return name


def main() -> None:
    """Serves on a port of loopback until it is ended."""
    from meltemi.proxyless.thrift import mesh_server
    from thriftpy2.rpc import make_server

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    service, port = loaded().HelloService, int(sys.argv[1])
    server = make_server(service, _Handler(), "127.0.0.1", port, client_timeout=None)
    server.daemon = True
    mesh_server(server).serve()


if __name__ == "__main__":
    main()
