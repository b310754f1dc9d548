"""What the machine does while a sample is taken: CPU time of cores and processes."""

from __future__ import annotations

import os
import random
import resource
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

FOREIGN_LIMIT = 0.08
"""Share of the used cores that others may take during a sample; above it the sample is refused."""

QUIET_SHARE = 0.15
"""Share of the used cores that may be busy for a sample to be begun."""


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def busy_s(of_cores: Iterable[int]) -> float:
    """Seconds that the cores were not idle since boot."""
    wanted = {f"cpu{core}" for core in of_cores}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            ticks = [int(field) for field in fields[:8]]
            total += sum(ticks) - ticks[3] - ticks[4]  # all but idle and waiting for disks
    return total / TICKS_A_SECOND


def cpu_s(pid: int) -> float:
    """CPU seconds of all living threads of a process, to the nanosecond; 0 when it is gone."""
    nanoseconds = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    except (OSError, IndexError):  # the process or a thread ended meanwhile
        pass
    return nanoseconds / 1e9


def resident_kib(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def ended_cpu_s() -> float:
    """CPU seconds of all processes that this one started and that ended, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Share:
    """Measures how much of the machine others took than this process and what it starts.

    For stretches of seconds in which everything that is started also ends.
    """

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._busy = busy_s(cores())
        self._own = cpu_s(os.getpid()) + ended_cpu_s()

    def foreign(self) -> float:
        """Of the stretch until now."""
        busy = busy_s(cores()) - self._busy
        own = cpu_s(os.getpid()) + ended_cpu_s() - self._own
        elapsed = (time.monotonic() - self._begun) * len(cores())
        return max(0.0, (busy - own) / elapsed)


class Window:
    """Measures how much of some cores others took while it is open."""

    def __init__(self, of_cores: Sequence[int], pids: Sequence[int]) -> None:
        self._cores = of_cores
        self._pids = (*pids, os.getpid())
        self._begun = time.monotonic()
        self._busy = busy_s(of_cores)
        self._own = sum(map(cpu_s, self._pids))

    def foreign_share(self, ended_cpu_s: float) -> float:
        """Of the window until now; `ended_cpu_s`: CPU of our processes that ended in it."""
        busy = busy_s(self._cores) - self._busy
        own = sum(map(cpu_s, self._pids)) - self._own + ended_cpu_s
        elapsed = (time.monotonic() - self._begun) * len(self._cores)
        return max(0.0, (busy - own) / elapsed)


def wait_until_quiet(of_cores: Sequence[int], at_most_s: float) -> bool:
    """Waits until the cores are nearly idle. False: they were not, for that long."""
    deadline = time.monotonic() + at_most_s
    while True:
        before = busy_s(of_cores)
        time.sleep(0.2)
        if (busy_s(of_cores) - before) / (0.2 * len(of_cores)) < QUIET_SHARE:
            return True
        if time.monotonic() > deadline:
            return False


def free_ports(count: int) -> int:
    """The first of `count` ports of loopback in a row that nothing listens on.

    Below the ephemeral range, so that no client's own port gets in the way.
    """
    for _ in range(1000):
        first = random.randint(20000, 32000 - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row between 20000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
