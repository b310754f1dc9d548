"""Ends what `up` started when `up` itself is killed.

The kernel ends the children (PR_SET_PDEATHSIG), but not what those started: `sh -c "server; …"`
would leave its server behind, with its port. So a small process waits on a pipe for the end of
`up`, and then kills each process group that it was told of.

Only a process that left its group by itself (a daemon) is not ended."""

from __future__ import annotations

import contextlib
import os
import signal

CHUNK_BYTES = 4096


class Guardian:
    """The process that waits; forked early, while this process has no thread and holds no lock."""

    def __init__(self) -> None:
        """Forks. Raises OSError."""
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writing, False)  # whoever writes is never held up by it
        self.pid = os.fork()
        if self.pid == 0:
            _wait_and_kill(reading)
        os.close(reading)

    def enter(self) -> None:
        """Called by a child before exec, when it leads its own group: that is to end with `up`."""
        before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # where nobody waits any more
        self._say(b"+", os.getpid())
        signal.signal(signal.SIGPIPE, before)

    def forget(self, pid: int) -> None:
        """The group of `pid` was ended: its number may be another's from here on."""
        self._say(b"-", pid)

    def close(self) -> None:
        """Nothing is to be ended any more but what was entered and not forgotten."""
        os.close(self._writing)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _say(self, what: bytes, pid: int) -> None:
        with contextlib.suppress(OSError):
            os.write(self._writing, b"%s%d\n" % (what, pid))


def _wait_and_kill(reading: int) -> None:
    """The life of the guardian; never returns."""
    try:
        os.setsid()  # Ctrl-C of the terminal is not for it
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _keep_only(reading)
        for group in _groups(reading):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _keep_only(reading: int) -> None:
    """Lets go of everything else: locks, and the terminal or pipe that `up` prints to."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, reading)
    os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))


def _groups(reading: int) -> set[int]:
    """The groups that were entered and not forgotten, when the other end of the pipe is closed."""
    groups: set[int] = set()
    unfinished = b""
    while data := os.read(reading, CHUNK_BYTES):
        *lines, unfinished = (unfinished + data).split(b"\n")
        for line in lines:
            pid = int(line[1:])
            groups.add(pid) if line[:1] == b"+" else groups.discard(pid)
    return groups
