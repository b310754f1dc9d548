"""What `meltemi up` keeps in `DIR/.meltemi`: folders and files for its own user only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("meltemi.local")


class AlreadyRunning(Exception):
    """Another `meltemi up` runs the mesh of this directory."""


class State:
    """The state folder of one mesh, locked while `up` runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / ".meltemi"
        self.logs = self.root / "logs"
        self.socket = self.root / "meltemi.sock"
        self._lock_fd: int | None = None
        self._failed = False

    def take(self) -> None:
        """Makes the folders and takes the lock. Raises AlreadyRunning, OSError."""
        for folder in (self.root, self.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self.root / "up.lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise AlreadyRunning(pid) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock_fd = lock

    def release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty when it is not there or broken."""
        try:
            found = json.loads((self.root / name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, content: Mapping[str, Any]) -> bool:
        """Replaces a JSON file as a whole; whether it could. A full disk is said once, and stops
        nothing."""
        self._replace(name, json.dumps(content, indent=1))
        return not self._failed

    def _replace(self, name: str, text: str) -> None:
        new = self.root / f".{name}.new"
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            new.replace(self.root / name)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error(
                    "%s cannot be written (%s): free some space; what runs goes on",
                    self.root / name,
                    error.strerror,
                )
            self._failed = True

    def write_pid(self, name: str, pid: int | None) -> None:
        """Replaces `NAME.pid`, or removes it when there is no process."""
        if pid is None:
            self.remove(f"{name}.pid")
        else:
            self._replace(f"{name}.pid", f"{pid}\n")

    def remove(self, name: str) -> None:
        """Removes a file of the folder, if it is there and can be."""
        with contextlib.suppress(OSError):
            (self.root / name).unlink()
