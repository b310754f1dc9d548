"""Which meshes run on this machine for this user: one small file each, in the user's own folder.

Written by the control plane, read by the commands to find "the only running mesh". An entry is a
hint: a mesh runs when its socket `answers`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from meltemi.controlplane.state import StateFolder, short_path, write_whole


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_RUNTIME_DIR/meltemi` (usually `/run/user/UID`), else `/tmp/meltemi-UID`."""
    user = os.getuid()
    for runtime in (environment.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if runtime and os.access(runtime, os.W_OK):
            return Path(runtime) / "meltemi"
    return Path(f"/tmp/meltemi-{user}")


def add(mesh: Path, registry: Path) -> None:
    """Enters the mesh of directory `mesh`. Raises OSError; without it, --mesh still finds it."""
    registry.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(registry):
        raise OSError(f"{registry} does not belong to this user alone")
    write_whole(_entry(mesh, registry), str(mesh).encode())


def remove(mesh: Path, registry: Path) -> None:
    with contextlib.suppress(OSError):
        _entry(mesh, registry).unlink()


def entries(registry: Path | None = None) -> list[Path]:
    """The directories that were entered, sorted; a mesh that was killed may still be among them."""
    registry = registry or folder()
    if not _is_ours(registry):
        return []
    found = []
    for entry in registry.glob("*.mesh"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.append(Path(entry.read_text()))
    return sorted(found)


def answers(mesh: Path) -> bool:
    """Whether something listens on the mesh's socket."""
    try:
        with socket.socket(socket.AF_UNIX) as probe, short_path(StateFolder(mesh).socket) as path:
            probe.settimeout(1)
            probe.connect(path)
    except OSError:
        return False
    return True


def _entry(mesh: Path, registry: Path) -> Path:
    return registry / f"{hashlib.sha256(str(mesh).encode()).hexdigest()[:16]}.mesh"


def _is_ours(registry: Path) -> bool:
    """A folder in /tmp may be anybody's: believe it only when nobody else could write there."""
    try:
        found = registry.lstat()
    except OSError:
        return False
    private = not found.st_mode & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and private
