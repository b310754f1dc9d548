"""What every test may ask for."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT.parent / "shared" / "cases"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a port of loopback that nothing listens on, below the ephemeral range."""
    given: set[int] = set()

    def port() -> int:
        for _ in range(1000):
            candidate = random.randint(20000, 31999)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", candidate))
                except OSError:
                    continue
            if candidate not in given:
                given.add(candidate)
                return candidate
        raise AssertionError("no free port between 20000 and 31999")

    return port


@pytest.fixture(scope="session")
def cases() -> Path:
    """The cases that others wrote; what reads them is skipped where they are not there."""
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not there: these cases are not part of the project")
    return CASES
