"""Where the control plane listens: the addresses that were asked for, or the next free pair."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from meltemi.admin.guard import split_address
from meltemi.admin.sockets import bind, written

XDS_PORT, ADMIN_PORT = 15010, 15014  # Istio's own ports of the same things
STEP, PAIRS = 10, 50  # 15010/15014, 15020/15024, ...


class NoAddress(Exception):
    """An address that was asked for cannot be had."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """`HOST:PORT` each."""

    xds: str
    admin: str


def candidates(xds: str | None, admin: str | None, before: Addresses | None) -> Iterator[Addresses]:
    """Pairs to try, best first: where it was `before` (its nodes look for it there), the known
    ports, the next ones. An address that was asked for (port 0: any) is in each pair."""
    if before is not None:
        yield Addresses(xds or before.xds, admin or before.admin)
    for step in range(PAIRS):
        yield Addresses(
            xds or f"127.0.0.1:{XDS_PORT + STEP * step}",
            admin or f"127.0.0.1:{ADMIN_PORT + STEP * step}",
        )
        if xds is not None and admin is not None:
            return


def read(path: Path) -> Addresses | None:
    """The pair in `.meltemi/control-plane.json`; None where there is none, or no good one."""
    try:
        found = json.loads(path.read_text())
        split_address(found["xds"])
        split_address(found["admin"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Addresses(found["xds"], found["admin"])


async def listen(
    pairs: Iterator[Addresses], start_xds: Callable[[str], Awaitable[int]]
) -> tuple[Addresses, socket.socket]:
    """Starts xDS and binds the admin socket at the first pair of which both are free.

    Raises NoAddress, naming what is taken."""
    problem = ""
    for pair in pairs:
        try:
            admin = bind(pair.admin)
        except OSError as error:
            problem = f"cannot listen on {pair.admin}: {error.strerror}"
            continue
        try:
            port = await start_xds(pair.xds)
        except OSError as error:
            admin.close()
            problem = str(error)
            continue
        host, _ = split_address(pair.xds)
        return Addresses(written(host, port), written(*admin.getsockname()[:2])), admin
    raise NoAddress(problem)
