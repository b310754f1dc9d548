"""What every test may ask for."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INTEROP = ROOT / "tests" / "interop"
CASES = ROOT.parent / "shared" / "cases"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peers",
        action="store_true",
        help="run what is held against other people's software and nothing else: tests/interop, "
        "and what is marked `peers` and not run otherwise; a skip is a failure",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    peers = config.getoption("--peers")

    def wanted(item: pytest.Item) -> bool:
        marked = item.get_closest_marker("peers") is not None
        return marked == peers or (peers and INTEROP in item.path.parents)

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = filter(wanted, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where peers are wanted, a skip is a failure."""
    report = yield
    if report.skipped and item.config.getoption("--peers"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where no test may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
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
