"""Objects that were applied: one YAML file each in `.meltemi/config/`, changed all or none.

A change writes every new file aside, then a journal that says which gets which name, then does what
the journal says. What happens before the journal is there (a full disk, SIGKILL) changes nothing;
what happens after is finished by the next start.

`meltemi.controlplane.source` reads the folder together with the files of the mesh's directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from meltemi.config import Source
from meltemi.controlplane.state import StateError, sync_folder, write_synced, write_whole
from meltemi.model import ObjectRef

log = logging.getLogger("meltemi.controlplane")

NAME_BYTES = (
    200  # of a file: kind, namespace and name may together be longer than the 255 there are
)
JOURNAL = "journal.json"


class _Steps(TypedDict):
    """`put`: new file to name; `remove`: names."""

    put: dict[str, str]
    remove: list[str]


class AppliedObjects:
    """The folder of applied objects; `recover` before the first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, ref: ObjectRef) -> Path:
        """The file of an object: readable, and different for different objects."""
        parts = (ref.kind, ref.namespace, ref.name)
        name = ".".join(quote(part, safe="") for part in parts)
        if len(name) > NAME_BYTES:
            digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
            name = f"{name[:NAME_BYTES]}.{digest}"
        return self.folder / f"{name}.yaml"

    def recover(self) -> None:
        """Finishes a change that was cut off after its journal, forgets one cut off before.

        Raises StateError."""
        journal = self.folder / JOURNAL
        try:
            if journal.exists():
                log.warning("finishing a change of applied objects that was cut off")
                self._finish()
            for left in self.folder.glob(".*.new"):
                left.unlink()
        except (OSError, ValueError) as error:
            raise StateError(
                f"cannot read what was applied in {self.folder}: {error}",
                f"look at {journal}; without it, the objects stand as their files say",
            ) from error

    def sources(self) -> list[Source]:
        """What is stored, one file an object. Raises StateError."""
        try:
            paths = sorted(self.folder.glob("*.yaml"))
            return [Source(str(path), path.read_bytes()) for path in paths]
        except OSError as error:
            raise StateError(f"cannot read {error.filename}: {error.strerror}") from error

    def change(self, put: Mapping[ObjectRef, str], remove: Iterable[ObjectRef] = ()) -> None:
        """Stores the YAML of each object in `put`, drops those in `remove`: all or none.

        Raises StateError, having changed nothing."""
        staged: dict[str, str] = {}
        removed = [self.path(ref).name for ref in remove]
        try:
            for ref, document in put.items():
                target = self.path(ref).name
                new = f".{secrets.token_hex(8)}.new"
                staged[new] = target
                write_synced(self.folder / new, document.encode())
            steps: _Steps = {"put": staged, "remove": removed}
            if len(staged) + len(removed) == 1:  # one name: it needs no journal, nor space for one
                self._do(steps)
                return
            write_whole(self.folder / JOURNAL, json.dumps(steps).encode())
        except OSError as error:
            for new in (JOURNAL, *staged):  # the journal first: without it, nothing happened
                with contextlib.suppress(OSError):
                    (self.folder / new).unlink(missing_ok=True)
            raise StateError(
                f"cannot store in {self.folder}: {error.strerror}; nothing was changed",
                "free some space there, or make it writable, and apply again",
            ) from error
        try:
            self._finish()
        except OSError as error:
            log.error("%s: %s; the next start finishes it", self.folder, error.strerror)

    def _finish(self) -> None:
        """Does what the journal says, as often as it takes."""
        journal = self.folder / JOURNAL
        self._do(json.loads(journal.read_text()))
        journal.unlink()

    def _do(self, steps: _Steps) -> None:
        """Gives the new files their names and drops the removed; what is done already is left."""
        for new, target in steps["put"].items():
            with contextlib.suppress(FileNotFoundError):
                (self.folder / new).replace(self.folder / target)
        for target in steps["remove"]:
            (self.folder / target).unlink(missing_ok=True)
        sync_folder(self.folder)
