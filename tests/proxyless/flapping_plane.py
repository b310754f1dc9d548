"""A control plane in a process of its own whose endpoints change a hundred times a second.

`python flapping_plane.py PORT '{"TARGET": ["ADDRESS", ...]}'`. A line says whose
change from now on, nobody's where it is empty; the answer is how many changes were made so far."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from meltemi.xds.messages import ENDPOINT
from scripted_server import ScriptedServer, endpoints

EVERY_S = 0.01


@dataclass
class Plane:
    """One that runs, from outside."""

    address: str
    process: subprocess.Popen[str]

    def flap(self, target: str) -> int:
        """The endpoints of `target` change from now on, of "" none; how many changes were made."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(target + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def plane(port: int, services: dict[str, list[str]]) -> Iterator[Plane]:
    """`services`: the addresses of each target, of which one at least is always there."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(port), json.dumps(services)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    made = Plane(f"127.0.0.1:{port}", process)
    try:
        made.flap("")
        yield made
    finally:
        process.kill()
        process.communicate()


class _Flapping:
    def __init__(self, server: ScriptedServer, services: dict[str, list[str]]) -> None:
        self.server, self.services = server, services
        self.goes = threading.Event()
        self.target = ""
        self.count = 0

    def order(self, target: str) -> None:
        self.target = target or self.target
        (self.goes.set if target else self.goes.clear)()

    def run(self) -> None:
        """All of them, all but one, all, all but another one..."""
        due = time.monotonic()
        for place in itertools.count():
            self.goes.wait()
            target, addresses = self.target, self.services[self.target]
            without = place // 2 % len(addresses) if place % 2 else None
            left = [each for n, each in enumerate(addresses) if n != without]
            self.server.put(ENDPOINT, endpoints(target, *left))
            self.count += 1
            due = max(due + EVERY_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    server = ScriptedServer(int(sys.argv[1]))
    services = json.loads(sys.argv[2])
    for target, addresses in services.items():
        server.service(target, target, *addresses)
    server.start()
    flapping = _Flapping(server, services)
    threading.Thread(target=flapping.run, daemon=True).start()
    for line in sys.stdin:
        flapping.order(line.strip())
        print(flapping.count, flush=True)


if __name__ == "__main__":
    main()
