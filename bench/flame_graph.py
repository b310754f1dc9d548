#!/usr/bin/env python3
"""Profiles the engine under load and draws a flame graph (`make profile`).

    python bench/flame_graph.py [--point 64x1x32] [--one-core] [--pool] [--seconds 5]

Writes bench/profile.svg and bench/profile.txt, the functions by their own share. A point is
connections x in flight x bytes. Needs Linux' `perf`; `linux-perf` is its package on Debian.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from runner import flame, targets
from runner.machine import cores, free_ports
from runner.processes import Processes, StartError, binary, pinned

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SAMPLES_A_SECOND = 1999
"""No divisor of the timer's rate, so that samples do not fall in step with it."""
SHOWN = 40
"""Functions in the list."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--point", default="64x1x32", help="connections x in flight x bytes")
    parser.add_argument("--one-core", action="store_true", help="load and engine share a core")
    parser.add_argument("--pool", action="store_true", help="a connection a request in flight")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=HERE, help="where the files are written")
    arguments = parser.parse_args()
    if shutil.which("perf") is None:
        print("profile: there is no `perf` here: install linux-perf", file=sys.stderr)
        return 1
    try:
        counted = _sampled(arguments)
    except (StartError, OSError, subprocess.CalledProcessError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    mode = "pool" if arguments.pool else "multiplexed"
    layout = "one core" if arguments.one_core else "two cores"
    title = f"meltemi engine, {arguments.point}, {mode}, {layout}"
    (arguments.output / "profile.svg").write_text(flame.svg(counted, title))
    (arguments.output / "profile.txt").write_text(_own(counted, title))
    print(_own(counted, title))
    print(f"{arguments.output / 'profile.svg'} is the flame graph")
    return 0


def _sampled(arguments: argparse.Namespace) -> Counter[flame.Stack]:
    """Runs load, backend and engine, and samples the engine. Raises StartError."""
    connections, in_flight, size = arguments.point.split("x")
    own = cores()
    load_core, proxy_core = own[:1], own[:1] if arguments.one_core else own[-1:]
    directory = Path(tempfile.mkdtemp(prefix="meltemi-profile-"))
    environment = {**os.environ, "PYTHONPATH": str(_package(directory))}
    with Processes(directory) as processes:
        backends = targets.start_backends(processes, load_core, "thrift")
        host, port = backends.host, free_ports(1)
        engine = [
            *("env", f"PYTHONPATH={environment['PYTHONPATH']}"),
            *(sys.executable, str(HERE / "engine.py"), "--listen", f"{host}:{port}"),
            *("--backends", f"{host}:{backends.port},{host}:{backends.port + 1}"),
            *([] if arguments.pool else ["--multiplexed"]),
        ]
        pid = processes.start("engine", engine, proxy_core, (host, port))
        load = [
            *(str(binary("meltemi-load")), f"127.0.0.1:{port}", "-c", connections),
            *("-d", in_flight, "-s", size, "-t", str(arguments.seconds + 1)),
        ]
        loading = subprocess.Popen(pinned(load_core, load), stdout=subprocess.DEVNULL)
        try:
            return _samples(pid, arguments.seconds, directory / "perf.data")
        finally:
            loading.wait()


def _samples(pid: int, seconds: float, data: Path) -> Counter[flame.Stack]:
    # cpu-clock: hardware counters are missing in many virtual machines.
    record = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(SAMPLES_A_SECOND), "-g"]
    command = [*record, "-p", str(pid), "-o", str(data), "sleep", str(seconds)]
    subprocess.run(command, check=True, capture_output=True)
    script = ["perf", "script", "-i", str(data), "-F", "comm,ip,sym,dso"]
    done = subprocess.run(script, check=True, capture_output=True, text=True, errors="replace")
    return flame.stacks(done.stdout.splitlines())


def _package(directory: Path) -> Path:
    """The package with an engine that has symbols and frame pointers, on a path of its own."""
    flags = f"{os.environ.get('RUSTFLAGS', '')} -Cforce-frame-pointers=yes".strip()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    print("building the engine with symbols (some minutes the first time)", flush=True)
    subprocess.run(
        ["cargo", "build", "--locked", "--quiet", "--profile", "profiling", "-p", "meltemi-python"],
        cwd=ROOT,
        env={**os.environ, "RUSTFLAGS": flags},
        check=True,
    )
    package = directory / "package" / "meltemi"
    package.mkdir(parents=True)
    for entry in (ROOT / "python" / "meltemi").iterdir():
        if not entry.name.startswith("_engine.abi3"):
            (package / entry.name).symlink_to(entry)
    (package / "_engine.abi3.so").symlink_to(target / "profiling" / "lib_engine.so")
    return package.parent


def _own(counted: Counter[flame.Stack], title: str) -> str:
    """Functions by the samples that are their own."""
    own: Counter[str] = Counter()
    for stack, samples in counted.items():
        own[stack[-1]] += samples
    total = own.total()
    lines = [f"{samples / total:7.2%}  {name}" for name, samples in own.most_common(SHOWN)]
    kernel = sum(samples for name, samples in own.items() if name.endswith("_k"))
    return "\n".join([title, f"{total} samples, {kernel / total:.0%} in the kernel", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
