"""What a process holds in memory that calls without a sidecar, over one that only has grpcio (G26).

Its control plane knows 1,000 services of five endpoints each; it calls one, a real server."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane import documents, processes
from runner.machine import resident_kib
from runner.processes import StartError

from sdk import service

BENCH: Final = Path(__file__).resolve().parents[1]
SERVICES: Final = 1000
ROUNDS: Final = 3
CODE: Final = {
    "bare": """\
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
""",
    "sdk": """\
import sys
from sdk import client, service
with client.connected(sys.argv[1]) as mesh:
    assert mesh.thrift(service.TARGET, service.loaded().HelloService).sayHello("x") == "x"
    print("ready", flush=True)
    sys.stdin.read()
""",
}


@dataclass(frozen=True)
class Held:
    """Resident MB of a process, medians."""

    sdk_mb: float
    bare_mb: float

    @property
    def over_mb(self) -> float:
        """What is more."""
        return self.sdk_mb - self.bare_mb


def held(rounds: int = ROUNDS) -> Held:
    """Both, in turn. Raises StartError."""
    found: dict[str, list[float]] = {name: [] for name in CODE}
    with tempfile.TemporaryDirectory(prefix="meltemi-bench-") as folder:
        directory = Path(folder)
        documents.write(directory, SERVICES, 50)
        (port,) = processes.free_ports(1)
        service.write(directory, port)
        with service.served(port), processes.control_plane(directory) as plane:
            for _ in range(rounds):
                for name, code in CODE.items():
                    found[name].append(_resident_mb(code, plane.xds))
    return Held(statistics.median(found["sdk"]), statistics.median(found["bare"]))


def _resident_mb(code: str, xds: str) -> float:
    with subprocess.Popen(
        [sys.executable, "-c", code, xds],
        cwd=BENCH,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        if not process.stdout.readline():
            raise StartError("a client of the benchmark ended; its stderr says why")
        found = resident_kib(process.pid) / 1024
        process.stdin.close()
    return found


if __name__ == "__main__":
    both = held()
    print(both, f"over {both.over_mb:.1f} MB")
