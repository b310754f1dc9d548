"""Operators' documents to the mesh: sources, one schema a kind, rules, and every error's place.

`load(sources)` gives the valid objects and all issues, `build(objects, addresses)` the mesh;
`files` reads and watches a folder."""

from meltemi.config.build import MeshBuilder, build
from meltemi.config.check import Object
from meltemi.config.issues import Issue, errors
from meltemi.config.load import Loaded, Read, Source, combine, load, read, recombine

__all__ = [
    "Issue",
    "Loaded",
    "MeshBuilder",
    "Object",
    "Read",
    "Source",
    "build",
    "combine",
    "errors",
    "load",
    "read",
    "recombine",
]
