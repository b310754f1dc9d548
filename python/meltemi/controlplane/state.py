"""The state folder `DIR/.meltemi`: where things lie, who may read them, how they are written.

Everything in it survives SIGKILL at any moment: files are replaced whole, never edited."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

FOLDER = ".meltemi"
UNUSABLE = "it must be a folder that this user owns, on a disk with space"


class StateError(Exception):
    """The state folder cannot be used; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StateFolder:
    """Names of what lies in the state folder of the mesh in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.path = self.directory / FOLDER
        self.socket = self.path / "meltemi.sock"
        self.config = self.path / "config"
        self.addresses = self.path / "addresses.json"
        self.control_plane = self.path / "control-plane.json"
        self.processes = self.path / "processes.json"
        self.lock = self.path / "control-plane.lock"

    def create(self) -> None:
        """Makes the folder, for this user alone. Raises StateError."""
        if not self.directory.is_dir():
            raise StateError(
                f"there is no directory {self.directory}",
                "give the directory that holds the mesh's YAML files",
            )
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
            self.config.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot use {self.path}: {error.strerror}", UNUSABLE) from error

    def take_lock(self) -> int:
        """Holds the folder until this process ends. Raises StateError when another has it."""
        try:
            fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"cannot make {self.lock}: {error.strerror}", UNUSABLE) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise StateError(
                f"a control plane already runs {self.directory} (pid {holder or 'unknown'})",
                "stop it, or use that one: `meltemi status`",
            ) from error
        with contextlib.suppress(OSError):  # the pid is for people; the lock itself needs no space
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        return fd

    def bind_socket(self) -> socket.socket:
        """The Unix socket that steers the mesh: mode 0600 from its first moment. Raises StateError.

        It is bound under another name and moved, so that it is never there without a listener."""
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        new = self.path / "meltemi.sock.new"
        try:
            new.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                with short_path(new) as path:
                    bound.bind(path)
            finally:
                os.umask(before)
            bound.listen(128)
            new.replace(self.socket)
        except OSError as error:
            bound.close()
            raise StateError(
                f"cannot listen on {self.socket}: {error.strerror}", UNUSABLE
            ) from error
        return bound


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path` through /proc: a Unix socket's path has 107 bytes at most, a directory's has more."""
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces `path`, on the disk before the name changes. Raises OSError, changing nothing."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_synced(new, data, mode)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a new file and waits until the disk has it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Makes the names in `path` last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
