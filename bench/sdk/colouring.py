"""What colouring costs an application that is its own edge: CPU of its process for a request, with
the middleware and without (G27).

Both run on one core and take turns, some hundred requests each, over a few connections that stay
open; each request has the headers of a browser and is of one of many users."""

from __future__ import annotations

import itertools
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltemi.lanes.share import in_share
from runner.machine import cores, cpu_s, free_ports
from runner.processes import Processes, StartError

from sdk import edge

BARE, COLOURED = "bare", "coloured"
CONNECTIONS: Final = 8
REQUESTS: Final = 400
USERS: Final = 1000
ROUNDS: Final = 60
"""Short samples and many of them: what drifts is the same for both."""
REQUEST: Final = (
    "GET /hello?page=1 HTTP/1.1\r\nHost: shop.example\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nCookie: theme=dark; session={user}; seen=1\r\n"
    "X-Request-Id: 6f1d7a52-4a0e-4a7e-9f5a-3c1f0b5d9e11\r\nConnection: keep-alive\r\n\r\n"
)


@dataclass(frozen=True)
class Result:
    """CPU of one request in microseconds, by kind of application, round by round."""

    cpu_us: dict[str, list[float]]


class _Application:
    """A process of `edge`, and the connections to it."""

    def __init__(self, running: Processes, kind: str) -> None:
        self._marks = kind == COLOURED
        port = free_ports(1)
        command = [sys.executable, "-m", "sdk.edge", kind, str(port)]
        self._pid = running.start(f"edge-{kind}", command, cores()[:1], ("127.0.0.1", port))
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self._users = _users()

    def sample(self) -> float:
        """Raises StartError for an answer that is not right."""
        self._ask(REQUESTS // 10)  # the other took its caches
        before = cpu_s(self._pid)
        self._ask(REQUESTS)
        return (cpu_s(self._pid) - before) / REQUESTS * 1e6

    def _ask(self, requests: int) -> None:
        for _ in range(requests // CONNECTIONS):
            asked = [(each, next(self._users)) for each in self._sockets]
            for each, user in asked:
                each.sendall(REQUEST.format(user=user).encode())
            for each, user in asked:
                wanted = self._marks and in_share(user.encode(), 5)
                answer = _answer(each)
                if answer != (edge.MARKED if wanted else edge.BASELINE):
                    raise StartError(f"an application of the benchmark answered {answer!r}")

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _users() -> Iterator[str]:
    return itertools.cycle([f"user-{number:032x}" for number in range(USERS)])


def _answer(connection: socket.socket) -> str:
    """The body of an answer, which is the last of what there is to read."""
    data = connection.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    length = int(next(lengths, b":0").partition(b":")[2])
    while len(body) < length:
        body += connection.recv(4096)
    return body.decode()


def colouring(rounds: int = ROUNDS) -> Result:
    """Both, `rounds` times in turn. Raises StartError."""
    found: dict[str, list[float]] = {BARE: [], COLOURED: []}
    with (
        tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder,
        Processes(Path(folder, "logs")) as running,
    ):
        applications = {kind: _Application(running, kind) for kind in found}
        try:
            for application in applications.values():
                application.sample()  # the first warms up
            for _ in range(rounds):
                for kind, application in applications.items():
                    found[kind].append(application.sample())
        finally:
            for application in applications.values():
                application.close()
    return Result(found)


def _main() -> None:
    found = colouring().cpu_us
    pairs = list(zip(found[COLOURED], found[BARE], strict=True))
    for kind, samples in found.items():
        print(f"{kind:10} {statistics.median(samples):6.1f} us")
    print(f"{statistics.median(ours / bare for ours, bare in pairs):.3f}")


if __name__ == "__main__":
    _main()
