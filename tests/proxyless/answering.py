"""Servers of Thrift, HTTP and gRPC in a process of their own, each answers with its name.

`python answering.py '{"thrift": {"v1": PORT, ...}, "http": {...}, "grpc": {...}}'`; says "ready",
and ends when its input does."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import thrift_peers
import versioned_grpc
import versioned_http
from meltemi.proxyless.thrift import mesh_server

Ports = dict[str, dict[str, int]]
PROTOCOLS = ("thrift", "http", "grpc")
VERSIONS = ("v1", "v2")


class Named(thrift_peers.Handler):
    """Answers `echo` with its name, after so many seconds."""

    name = ""

    def echo(self, text: str) -> str:
        time.sleep(float(text))
        return self.name


def some_ports(free_port: Callable[[], int]) -> Ports:
    return {protocol: {name: free_port() for name in VERSIONS} for protocol in PROTOCOLS}


@contextlib.contextmanager
def answering(ports: Ports) -> Iterator[None]:
    """Runs the servers while the block runs."""
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    ports: Ports = json.loads(sys.argv[1])
    with contextlib.ExitStack() as stack:
        module: Any = thrift_peers.load(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for name, port in ports["thrift"].items():
            handler = Named(module)
            handler.name = name
            server = mesh_server(thrift_peers.server_of(module, handler, port))
            stack.enter_context(thrift_peers.running(server))
        stack.enter_context(versioned_http.serving(ports["http"]))
        stack.enter_context(versioned_grpc.serving(ports["grpc"]))
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
