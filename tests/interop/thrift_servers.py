"""Servers as processes of their own: `tests/e2e/apps/server.py`, one port each."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import apache

SERVER_PY = Path(apache.__file__).with_name("server.py")
DUBBO = SERVER_PY.parents[3] / "examples" / "dubbo" / "python"
"""The wire code that the Dubbo provider is made of."""
HOST = "127.0.0.1"


@contextlib.contextmanager
def thrift_servers(
    ports: Mapping[str, int], libraries: Mapping[str, str], variant: str, folder: Path
) -> Iterator[None]:
    """A server for each name in `ports`, by `libraries[name]`, that answers with its name."""
    words = {name: f"THRIFT_{libraries[name]}_{variant}" for name in ports}
    with _servers(ports, words, folder):
        yield


@contextlib.contextmanager
def dubbo_servers(ports: Mapping[str, int], folder: Path) -> Iterator[None]:
    """A Dubbo provider for each name in `ports` that answers with its name."""
    with _servers(ports, dict.fromkeys(ports, "DUBBO"), folder):
        yield


@contextlib.contextmanager
def _servers(ports: Mapping[str, int], words: Mapping[str, str], folder: Path) -> Iterator[None]:
    """`words`: what the name of the server's port says of its protocol."""
    processes = []
    path = os.pathsep.join([str(DUBBO), os.environ.get("PYTHONPATH", "")])
    try:
        for name, port in ports.items():
            own = {
                "HOST": HOST,
                "INSTANCE_IP": HOST,
                "POD_NAME": name,
                "NOTES": str(folder / "notes"),
                "PYTHONPATH": path,
                f"PORT_TCP_METAPROTOCOL_{words[name].upper().replace('-', '_')}": str(port),
            }
            command = [sys.executable, str(SERVER_PY)]
            processes.append(subprocess.Popen(command, env={**os.environ, **own}))
        for port in ports.values():
            wait_for(HOST, port)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(address: str, port: int) -> None:
    """Until something accepts connections there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {address}:{port}"
            time.sleep(0.05)


def version_in(reply: str) -> str:
    """Who answered: `Hello x, response from VERSION/ADDRESS`."""
    return reply.rpartition(" ")[2].partition("/")[0]
