"""The mesh that runs: configuration in, `Mesh` out, and every change of either.

`meltemi.controlplane.process` gives it what the files say, `steering` what users apply. Whoever
serves the mesh subscribes with `on_mesh`. For one thread; nothing here waits."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from meltemi.config import (
    Issue,
    Loaded,
    MeshBuilder,
    Object,
    Read,
    Source,
    combine,
    errors,
    read,
    references,
)
from meltemi.controlplane import addresses as address_file
from meltemi.controlplane import file_changes
from meltemi.controlplane.applied import AppliedObjects
from meltemi.controlplane.document import as_stored
from meltemi.controlplane.source import Configuration
from meltemi.controlplane.state import StateFolder
from meltemi.model import Mesh, ObjectRef
from meltemi.model.addresses import Addresses

log = logging.getLogger("meltemi.controlplane")

Action = Literal["created", "configured", "unchanged", "deleted"]


class RefusedChange(Exception):
    """What was applied is not right; nothing was changed."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__(f"{len(errors(issues))} errors")
        self.issues = tuple(issues)


class NotFound(Exception):
    """There is no such object."""


class HeldByFile(Exception):
    """The object stands in a file of the mesh's directory."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self.file = file


@dataclass(frozen=True, slots=True)
class Changed:
    """An object and what happened to it."""

    ref: ObjectRef
    action: Action


class LiveMesh:
    """One mesh, from `start` on."""

    def __init__(self, state: StateFolder, addresses: Addresses) -> None:
        self._state = state
        self._stored = AppliedObjects(state.config)
        self._addresses = addresses
        self._configuration = Configuration()
        self._builder = MeshBuilder()
        self._references = references.References()
        self._build_issues: tuple[Issue, ...] = ()
        self.mesh = Mesh()
        self.on_mesh: list[Callable[[Mesh], None]] = []

    @property
    def objects(self) -> tuple[Object, ...]:
        return self._configuration.loaded.objects

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Everything that is wrong or has no effect, in files and applied objects."""
        return tuple(dict.fromkeys((*self._configuration.loaded.issues, *self._build_issues)))

    def is_applied(self, item: Object) -> bool:
        """Whether the object in force is one that was applied."""
        applied = self._configuration.applied.get(item.ref)
        return applied is not None and applied.file == item.file

    # === changes ===

    def start(self, files: Loaded) -> None:
        """Takes the files and what was applied before, as far as it is valid. Raises StateError."""
        self._stored.recover()
        applied = {}
        for stored in self._stored.sources():
            part = read(stored)
            for ref in part.refs[:1]:
                applied[ref] = part
        after, _ = Configuration().with_files(files).with_applied(applied)
        self._take(after)

    def files_changed(self, files: Loaded) -> None:
        """Takes what the files say now, and says what that changed."""
        before = self._configuration.files
        self._take(self._configuration.with_files(files))
        for line in file_changes.lines(before, files):
            log.info("%s", line)

    def apply(
        self, sources: Iterable[Source], namespace: str
    ) -> tuple[list[Changed], tuple[Issue, ...]]:
        """Takes all objects of `sources` or none: what happened to each, and the warnings.

        Raises RefusedChange, StateError."""
        parts = [read(each, namespace) for each in sources]
        given = combine(parts)
        wrong = [*errors(given.issues), *self._held(given.objects)]
        if not any(part.refs or part.issues for part in parts):
            wrong.append(_nothing_in(parts[0].file if parts else "-"))
        if wrong:
            raise RefusedChange(_sorted((*given.issues, *wrong)))
        changed = [Changed(item.ref, self._action(item)) for item in given.objects]
        texts = {
            item.ref: as_stored(item.raw)
            for item, change in zip(given.objects, changed, strict=True)
            if change.action != "unchanged"
        }
        put = {ref: read(Source(str(self._stored.path(ref)), text)) for ref, text in texts.items()}
        after, against = self._configuration.with_applied(put)
        if against:
            raise RefusedChange(_sorted((*given.issues, *against)))
        warnings = dict.fromkeys((*given.issues, *_concerning(after.loaded.issues, put)))
        if texts:
            self._stored.change(texts)
            self._take(after)
        return changed, _sorted((*warnings, *references.check(given.objects, self.mesh)))

    def delete(self, ref: ObjectRef) -> None:
        """Drops an applied object. Raises NotFound, HeldByFile, StateError."""
        if ref not in self._configuration.applied:
            held = self._configuration.held_by_file(ref)
            if held is not None:
                raise HeldByFile(f"{held.file}:{held.line}")
            raise NotFound(f"there is no {ref.kind} {ref.namespace}/{ref.name}")
        after, _ = self._configuration.with_applied({}, [ref])
        self._stored.change({}, remove=[ref])
        self._take(after)

    def _held(self, objects: Iterable[Object]) -> list[Issue]:
        """An error for each object that a file of the directory holds."""
        found = []
        for item in objects:
            held = self._configuration.held_by_file(item.ref)
            if held is not None:
                ref, place = item.ref, f"{held.file}:{held.line}"
                message = f"{ref.kind} {ref.namespace}/{ref.name} is held by {place}"
                hint = "edit that file: what is applied never replaces it"
                path = ("metadata", "name")
                found.append(item.issue(path, "error", "held-by-file", message, hint))
        return found

    def _action(self, item: Object) -> Action:
        before = self._configuration.applied.get(item.ref)
        if before is None:
            return "created"
        same = [held.raw for held in before.objects] == [item.raw]
        return "unchanged" if same else "configured"

    # === the mesh ===

    def _take(self, after: Configuration) -> None:
        """Puts a configuration in force; the mesh changes only where it says something else."""
        known = set(self.issues)
        before, self._configuration = self._configuration, after
        if before.loaded.objects != after.loaded.objects:
            self._build()
        for issue in self.issues:
            if issue not in known:
                level = logging.ERROR if issue.severity == "error" else logging.WARNING
                log.log(level, "%s", _line(issue))

    def _build(self) -> None:
        addresses = address_file.Recording(self._addresses)
        mesh, issues = self._builder.build(self.objects, addresses)
        addresses.forget_if_many()
        if addresses.differs:
            self._keep(addresses)
            self._addresses = addresses
        self._build_issues = (*issues, *self._references.check(self.objects, mesh))
        if mesh != self.mesh:
            self.mesh = mesh
            for listener in self.on_mesh:
                listener(mesh)

    def _keep(self, addresses: Addresses) -> None:
        try:
            address_file.write(self._state.addresses, addresses)
        except OSError as error:
            log.error(
                "%s cannot be written (%s): free some space, or addresses may change at a restart",
                self._state.addresses,
                error.strerror,
            )


def _nothing_in(name: str) -> Issue:
    message = "there is no object in it"
    return Issue(name, 0, 0, "", "error", "no-objects", message, "apiVersion, kind, metadata, spec")


def _concerning(issues: Iterable[Issue], put: Mapping[ObjectRef, Read]) -> list[Issue]:
    """Those of the objects that were put, which come to light only beside the others."""
    own = {issue for part in put.values() for issue in part.issues}
    files = {part.file for part in put.values()}
    return [issue for issue in issues if issue.file in files and issue not in own]


def _sorted(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    return tuple(
        sorted(dict.fromkeys(issues), key=lambda each: (each.file, each.line, each.column))
    )


def _line(issue: Issue) -> str:
    hint = f" ({issue.hint})" if issue.hint else ""
    named = not issue.path or issue.message.startswith(issue.path)
    path = "" if named else f"{issue.path}: "
    place = f"{issue.file}:{issue.line}:{issue.column}" if issue.line else issue.file
    return re.sub(r"\s+", " ", f"{place}: {path}{issue.message}{hint}")
