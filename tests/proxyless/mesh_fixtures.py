"""What tests of the client start and connect; `conftest` ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from meltemi.proxyless.mesh import Mesh
from scripted_server import ScriptedServer

Serve = Callable[..., ScriptedServer]
Connect = Callable[..., Mesh]


def until(holds: Callable[[], Any], within_s: float = 10.0) -> float:
    """Waits until it holds; after how many seconds it did."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.005)
    return time.monotonic() - began
