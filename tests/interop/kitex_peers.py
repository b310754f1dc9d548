"""Kitex's server and clients (Go), of `tests/interop/kitex`: processes that speak JSON in lines."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).with_name("kitex")
BUILT = Path(__file__).resolve().parents[2] / ".cache" / "interop-kitex"
PEER = BUILT / "kitex-peer"
IDL = SOURCES / "peer.thrift"
PATH = "/interop.Peer/Call"
"""Of the method Call, as Kitex writes it in routes."""


def build() -> None:
    """Builds the Go side, unless it is built. `make interop` does it before the tests."""
    done = subprocess.run(
        [str(SOURCES / "build.sh"), str(BUILT)], capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@dataclass
class Seen:
    """What the server says of a call."""

    name: str
    method: str
    text: str
    transient: dict[str, str] = field(default_factory=dict)
    persistent: dict[str, str] = field(default_factory=dict)


@dataclass
class Done:
    """What became of a call."""

    took_ms: float
    answer: str = ""
    refused: str = ""
    error: str = ""
    backward: dict[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> Seen:
        assert self.answer, self.error or self.refused
        found: dict[str, Any] = json.loads(self.answer)
        return Seen(**found)


class Client:
    """A client that makes one call after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(
        self,
        text: str = "",
        method: str = "Call",
        transient: Mapping[str, str] | None = None,
        persistent: Mapping[str, str] | None = None,
        timeout_ms: int = 0,
    ) -> Done:
        order = {
            "method": method,
            "text": text,
            "transient": dict(transient or {}),
            "persistent": dict(persistent or {}),
            "timeout_ms": timeout_ms,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        found = _line(self._process)
        found.pop("route_timeout_ms", None)
        return Done(**found)


@contextlib.contextmanager
def serving(listen: str, name: str = "kitex") -> Iterator[str]:
    """Kitex's server; its address."""
    with _started("server", "-listen", listen, "-name", name) as process:
        yield str(_line(process)["listening"])


@contextlib.contextmanager
def calling(address: str, transport: str = "ttheader") -> Iterator[Client]:
    """Kitex's client of one address."""
    with _started("client", "-to", address, "-transport", transport) as process:
        _line(process)
        yield Client(process)


@contextlib.contextmanager
def routed(service: str, environment: Mapping[str, str]) -> Iterator[Client]:
    """Kitex's client that asks a control plane where to call."""
    with _started("xds", "-service", service, env=environment) as process:
        _line(process)
        yield Client(process)


@contextlib.contextmanager
def _started(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(PEER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Kitex's own log stands among the lines: ours are objects."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise AssertionError(f"{process.args!r} ended with {process.wait()}")
