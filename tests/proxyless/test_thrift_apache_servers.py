"""Servers of Apache's own library are asked what they speak, and called so."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import thriftpy2
from meltemi.proxyless import thrift as mesh_thrift
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift_peers import mesh_of

APPS = Path(__file__).resolve().parents[1] / "e2e" / "apps"
WIRES = {"framed-binary": "framed", "unframed-binary": "unframed", "header": "theader"}


@pytest.fixture(scope="module")
def apache() -> Iterator[Any]:
    sys.path.insert(0, str(APPS))
    import apache

    yield apache
    sys.path.remove(str(APPS))


@contextlib.contextmanager
def served(apache: Any, variant: str, port: int) -> Iterator[None]:
    """An Apache server that reads one wire only."""
    protocol, transport = apache.VARIANTS[variant]
    listener = TServerSocket("127.0.0.1", port)
    listener.listen()
    listener.listen = lambda: None
    if transport is None:
        server = TThreadedServer(apache.Processor(), listener, None, None, protocol(), protocol())
        server.inputTransportFactory = server.outputTransportFactory = _AsItIs()
    else:
        server = TThreadedServer(apache.Processor(), listener, transport(), protocol())
    server.daemon = True
    threading.Thread(target=server.serve, daemon=True).start()
    yield
    listener.handle = None


class _AsItIs:
    """A THeader protocol brings its transport with it."""

    def getTransport(self, transport: Any) -> Any:
        return transport


@pytest.mark.parametrize("variant", list(WIRES))
def test_an_apache_server_is_found_out_and_called(
    apache: Any,
    variant: str,
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("POD_NAME", "apache")
    monkeypatch.setenv("INSTANCE_IP", "127.0.0.1")
    logging.getLogger("thrift").setLevel(logging.CRITICAL)
    port = free_port()
    service = thriftpy2.load(str(APPS / "hello.thrift")).HelloService
    with served(apache, variant, port):
        mesh = mesh_of(f"127.0.0.1:{port}")
        client = mesh_thrift.client(mesh, "hello:9090", service, timeout_s=10)
        token = attach(baggage.set_baggage("env", "dev"))
        try:
            for name in ("ada", "bob"):
                assert client.sayHello(name).startswith(f"Hello {name}")
        finally:
            detach(token)
        client.close()
    warned = [each.message for each in caplog.records if each.name.startswith("meltemi")]
    assert len(warned) == (0 if variant == "header" else 1)
    if warned:
        assert f"only {WIRES[variant]} messages" in warned[0]
