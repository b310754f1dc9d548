"""Documents to objects: each checked by itself, then against the others.

Pure. `read` looks at one file, so that a change of one file costs one file; `combine` looks at
all of them. Next: `meltemi.config.build`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from meltemi.config import check, placeless
from meltemi.config.check import Checked, Object
from meltemi.config.documents import parse
from meltemi.config.issues import Issue, errors
from meltemi.config.rules import names
from meltemi.config.schema.meta_router import MetaRouterSpec
from meltemi.model import ObjectRef


@dataclass(frozen=True, slots=True)
class Source:
    """A file's name, as issues show it, and what is in it."""

    file: str
    content: bytes | str


@dataclass(frozen=True, slots=True)
class Read:
    """What one file holds. `refs` are all objects it names, the invalid ones too."""

    file: str
    objects: tuple[Object, ...]
    refs: tuple[ObjectRef, ...]
    issues: tuple[Issue, ...]

    @property
    def valid(self) -> bool:
        return not errors(self.issues)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The valid objects of all files in the order of (kind, namespace, name), and every issue."""

    objects: tuple[Object, ...]
    issues: tuple[Issue, ...]

    @property
    def valid(self) -> bool:
        return not errors(self.issues)

    def find(self, ref: ObjectRef) -> Object | None:
        return next((found for found in self.objects if found.ref == ref), None)


def read(source: Source, default_namespace: str = "default") -> Read:
    """Parses and checks one file. Never raises for what is in it."""
    documents, issues = parse(source.file, source.content)
    checked: list[Checked] = []
    for document in documents:
        checked.extend(check.document(document, default_namespace))
    for one in checked:
        issues.extend(one.issues)
    return Read(
        source.file,
        tuple(one.value for one in checked if one.value is not None),
        tuple(one.ref for one in checked if one.ref is not None),
        tuple(sorted(issues, key=lambda issue: (issue.line, issue.column))),
    )


def combine(
    parts: Iterable[Read], owners: Mapping[ObjectRef, str] = MappingProxyType({})
) -> Loaded:
    """All files together: an object that is there twice is an error, and the first one counts; so
    is a rule that asks a protocol for what it has no place for.

    `owners` (which file held an object before) come first, so that a second copy changes
    nothing, wherever its file stands."""
    parts = list(parts)
    issues = [issue for part in parts for issue in part.issues]
    items = [item for part in parts for item in part.objects]
    first: dict[ObjectRef, Object] = {}
    for item in sorted(items, key=lambda item: owners.get(item.ref) != item.file):
        earlier = first.setdefault(item.ref, item)
        if earlier is not item:
            issues.append(_twice(item, earlier))
    objects = tuple(first[ref] for ref in sorted(first))
    issues.extend(_routers_of_one_host(objects))
    misplaced = placeless.check(objects)
    issues.extend(misplaced.values())
    valid = tuple(item for item in objects if item.ref not in misplaced)
    return Loaded(valid, tuple(issues))


def load(sources: Iterable[Source], default_namespace: str = "default") -> Loaded:
    """`read` and `combine`; documents without a namespace get the default one."""
    return combine(read(source, default_namespace) for source in sources)


def _twice(item: Object, earlier: Object) -> Issue:
    ref = item.ref
    return item.issue(
        ("metadata", "name"),
        "error",
        "duplicate-object",
        f"{ref.kind} {ref.namespace}/{ref.name} is in {item.file}:{item.line}"
        f" and in {earlier.file}:{earlier.line}",
        "rename or remove one of them",
    )


def _routers_of_one_host(objects: Iterable[Object]) -> Iterable[Issue]:
    """The lowest namespace/name wins; `objects` come in that order."""
    winner: dict[str, Object] = {}
    for item in objects:
        if not isinstance(item.spec, MetaRouterSpec):
            continue
        host = names.full_host(item.spec.hosts[0], item.ref.namespace)
        first = winner.setdefault(host, item)
        if first is not item:
            yield item.issue(
                ("spec", "hosts", 0),
                "warning",
                "host-taken",
                f"MetaRouter {first.ref.namespace}/{first.ref.name} ({first.file}:{first.line})"
                f" routes {host} too: this one has no effect",
                "the lowest namespace/name wins; put the routes into one MetaRouter",
            )
