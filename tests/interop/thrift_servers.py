"""Thrift servers as processes of their own: `tests/e2e/apps/server.py`, one port each."""

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
HOST = "127.0.0.1"


@contextlib.contextmanager
def thrift_servers(
    ports: Mapping[str, int], libraries: Mapping[str, str], variant: str, folder: Path
) -> Iterator[None]:
    """A server for each name in `ports`, by `libraries[name]`, that answers with its name."""
    processes = []
    try:
        for name, port in ports.items():
            words = f"{libraries[name]}_{variant}".upper().replace("-", "_")
            own = {
                "HOST": HOST,
                "INSTANCE_IP": HOST,
                "POD_NAME": name,
                "NOTES": str(folder / "notes"),
                f"PORT_TCP_METAPROTOCOL_THRIFT_{words}": str(port),
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
