"""The configuration of a mesh: what the files of its directory say, and what was applied.

Which content of a file counts is decided by `meltemi.config.files`. Pure; what is in force goes to
`meltemi.controlplane.mesh`, which stores and builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from meltemi.config import Issue, Loaded, Object, Read, errors, recombine
from meltemi.model import ObjectRef

Applied = Mapping[ObjectRef, Read]
"""Of each object that was applied: its own stored file."""


@dataclass(frozen=True)
class Configuration:
    """`loaded` is what is in force: `files` and `applied` together."""

    files: Loaded = field(default_factory=lambda: Loaded((), ()))
    applied: Applied = field(default_factory=lambda: MappingProxyType({}))
    loaded: Loaded = field(default_factory=lambda: Loaded((), ()))

    def held_by_file(self, ref: ObjectRef) -> Object | None:
        """The object where a file of the directory holds it."""
        return self.files.find(ref)

    def with_files(self, files: Loaded) -> Configuration:
        """After files were saved."""
        return self._loaded(replace(self, files=files))

    def with_applied(
        self, put: Applied, removed: Iterable[ObjectRef] = ()
    ) -> tuple[Configuration, list[Issue]]:
        """After objects were applied or deleted, and the errors that speak against it."""
        applied = {**self.applied, **put}
        for ref in removed:
            applied.pop(ref, None)
        after = self._loaded(replace(self, applied=applied))
        known = set(errors(self.loaded.issues))
        return after, [issue for issue in errors(after.loaded.issues) if issue not in known]

    def _loaded(self, after: Configuration) -> Configuration:
        """What two places hold is an error; the one that was there before stays in force."""
        files = Read("", after.files.objects, (), after.files.issues)  # refs: nobody asks
        parts = (files, *after.applied.values())
        return replace(after, loaded=recombine(parts, self.loaded))
