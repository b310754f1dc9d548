"""One child process that is kept running: started, watched, started again with backoff, stopped.

A child dies with the process that started it, also when that is killed (PR_SET_PDEATHSIG), and so
does what it started itself (`meltemi.local.guardian`)."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meltemi.local.guardian import Guardian
from meltemi.local.output import OutputFile, drain

log = logging.getLogger("meltemi.local")

FIRST_BACKOFF_S = 0.2
LAST_BACKOFF_S = 30.0
STEADY_S = 10.0  # a child that ran this long starts again at once when it ends
STOP_S = 10.0  # from SIGTERM to SIGKILL; longer than a sidecar's drain

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Command:
    """What to run: arguments, whole environment, working directory."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(hash=False)
    directory: Path


def child_setup(parent: int, guardian: Guardian | None = None) -> Callable[[], None]:
    """Runs in the child before exec: it is to end with `parent`."""

    def setup() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if guardian is not None:
            guardian.enter()

    return setup


class Process:
    """Keeps one command running until `stop`."""

    def __init__(
        self,
        name: str,
        command: Command,
        output: Path,
        changed: Callable[[], None],
        first_backoff_s: float = FIRST_BACKOFF_S,
        last_backoff_s: float = LAST_BACKOFF_S,
        echo: Callable[[str], str | None] | None = None,
        guardian: Guardian | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.pid: int | None = None
        self.restarts = 0
        self.problem: str | None = None
        self.started_at: float | None = None
        self._output = OutputFile(output, echo)
        self._changed = changed
        self._guardian = guardian
        self._first_backoff_s = first_backoff_s
        self._last_backoff_s = last_backoff_s
        self._stopping = False
        self._child: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=self.name)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after STOP_S; waits until it is gone."""
        self._stopping = True
        if self._child is not None and self._child.returncode is None:
            _signal_group(self._child.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await self._child.wait()
            except TimeoutError:
                log.warning("%s did not stop within %.0f s: killed", self.name, STOP_S)
            _signal_group(self._child.pid, signal.SIGKILL)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._output.close()

    async def _keep_running(self) -> None:
        backoff_s = self._first_backoff_s
        while not self._stopping:
            began = time.monotonic()
            ended = await self._run_once()
            if self._stopping:
                return
            self.problem = ended
            if time.monotonic() - began >= STEADY_S:
                backoff_s = self._first_backoff_s
            log.error("%s %s; starting it again in %.1f s", self.name, ended, backoff_s)
            self._changed()
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, self._last_backoff_s)
            self.restarts += 1

    async def _run_once(self) -> str:
        """Runs the child to its end; says how it ended."""
        try:
            child = await asyncio.create_subprocess_exec(
                *self.command.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(self.command.environment),
                cwd=self.command.directory,
                start_new_session=True,
                preexec_fn=child_setup(os.getpid(), self._guardian),
            )
        except OSError as error:
            return f"cannot start ({self.command.arguments[0]}: {error.strerror})"
        except (ValueError, subprocess.SubprocessError) as error:  # such as a NUL in an argument
            return f"cannot start ({self.command.arguments[0]}: {error})"
        assert child.stdout is not None
        self._child, self.pid, self.started_at = child, child.pid, time.time()
        self._changed()
        reading = asyncio.create_task(drain(child.stdout, self._output))
        code = await child.wait()
        self.pid = None
        self._changed()
        _signal_group(child.pid, signal.SIGKILL)  # what it started ends with it, and frees the pipe
        if self._guardian is not None:
            self._guardian.forget(child.pid)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reading, 1)
        return _how(code)


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def resolve(arguments: Sequence[str], python: str) -> tuple[str, ...]:
    """A leading `python` is the interpreter that runs Meltemi."""
    if arguments[0] in ("python", "python3"):
        return (python, *arguments[1:])
    return tuple(arguments)
