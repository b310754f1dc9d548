"""Our engine in a process of its own that does what it is told, and loads on what runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.machine import free_ports
from runner.processes import StartError, binary, pinned
from runner.rows import Target
from runner.targets import Place, engine_command


@dataclass(frozen=True, slots=True)
class Steered:
    """`bench/engine.py --steered`."""

    port: int
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, **order: Any) -> dict[str, Any]:
        """Gives an order and waits for its outcome. Raises StartError when the engine is gone or
        refuses what it was given."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextlib.contextmanager
def steered(place: Place, target: Target, *options: str) -> Iterator[Steered]:
    """An engine until the end of the block. Raises StartError."""
    port = free_ports(1)
    command = pinned(place.cores, engine_command(place, target, port, "--steered", *options))
    log = place.processes.directory / f"steered-{port}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            _answer(process)
            yield Steered(port, process)
        except StartError as error:
            raise StartError(f"{error}\n{log.read_text()[-2000:]}") from error
        finally:
            process.terminate()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise StartError(f"our engine ended with {process.wait(10)}")
    found: dict[str, Any] = json.loads(line)
    if found.get("rejected"):
        raise StartError(f"our engine refuses {found['rejected']}")
    return found


def load(cores: Sequence[int], port: int, *options: object) -> dict[str, Any]:
    """Runs the load generator on a port of loopback; its result, wrong replies included. Raises
    StartError when it cannot run."""
    done = subprocess.run(load_command(cores, port, *options), capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise StartError(f"meltemi-load failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def load_command(cores: Sequence[int], port: int, *options: object) -> list[str]:
    """The command of `load`."""
    words = [binary("meltemi-load"), f"127.0.0.1:{port}", *options]
    return pinned(cores, [str(word) for word in words])
