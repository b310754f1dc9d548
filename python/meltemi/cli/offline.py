"""The mesh of a directory, read without running it: for commands with `--config DIR`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meltemi import config
from meltemi.cli.errors import FAILED, Failure
from meltemi.cli.pushed import print_issues
from meltemi.config import references
from meltemi.config.files import SourceError, sources
from meltemi.config.issues import Issue
from meltemi.controlplane import addresses
from meltemi.controlplane.state import StateFolder
from meltemi.model import Mesh


@dataclass(frozen=True, slots=True)
class Offline:
    """A mesh as its directory describes it: the files, and what was applied to it."""

    mesh: Mesh
    issues: list[Issue]

    def end(self) -> None:
        """Says every issue. Raises Failure when one is an error: what was shown is the rest."""
        print_issues([issue.as_json() for issue in self.issues])
        wrong = len(config.errors(self.issues))
        if wrong:
            count = "1 error" if wrong == 1 else f"{wrong} errors"
            hint = "See `meltemi validate`."
            raise Failure(f"{count}: this is the mesh without them", hint, FAILED)


def offline(directory: Path, namespace: str = "default") -> Offline:
    """Reads DIR as `meltemi up DIR` would, and leaves it as it is: addresses are those of the last
    run, where there was one. Raises Failure when DIR cannot be read."""
    state = StateFolder(directory)
    try:
        read = sources(directory)
        if state.config.is_dir():
            read += sources(state.config)
    except SourceError as error:
        raise Failure(error.message, error.hint) from error
    loaded = config.load(read, namespace)
    mesh, together = config.build(loaded.objects, addresses.read(state.addresses))
    dangling = references.check(loaded.objects, mesh)
    return Offline(mesh, [*loaded.issues, *together, *dangling])
