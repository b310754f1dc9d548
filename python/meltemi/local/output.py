"""The output of a child, kept in a file.

The child writes into a pipe: a full disk is our trouble, not its.

Called by `meltemi.local.process`; `meltemi logs` reads the files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("meltemi.local")

MAX_BYTES = 16 << 20  # one file; the one before it is kept as `.1`
CHUNK_BYTES = 64 << 10
MAX_LINE_BYTES = 64 << 10  # of a line that is shown; the file has all of it


class OutputFile:
    """Appends to `path`; turns to a new file at MAX_BYTES.

    `echo` says what of a line goes to standard error too. What cannot be written is dropped, and
    that is said once."""

    def __init__(self, path: Path, echo: Callable[[str], str | None] | None = None) -> None:
        self.path = path
        self._echo = echo
        self._unfinished = b""
        self._fd: int | None = None
        self._failed = False

    def write(self, data: bytes) -> None:
        if self._echo is not None:
            self._show(data, self._echo)
        try:
            if self._fd is None:
                self._fd = self._open()
            if os.fstat(self._fd).st_size + len(data) > MAX_BYTES:
                self.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._fd = self._open()
            while data:
                data = data[os.write(self._fd, data) :]
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error(
                    "output is lost while %s cannot be written: %s", self.path, error.strerror
                )
            self._failed = True
            self.close()

    def _show(self, data: bytes, echo: Callable[[str], str | None]) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        self._unfinished = self._unfinished[:MAX_LINE_BYTES]
        for line in lines:
            shown = echo(line.decode(errors="backslashreplace"))
            if shown is not None:
                with contextlib.suppress(OSError, ValueError):  # a terminal that was closed
                    print(shown, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o600)


async def drain(reader: asyncio.StreamReader, into: OutputFile) -> None:
    """Copies until the child closes its end."""
    while data := await reader.read(CHUNK_BYTES):
        into.write(data)
