"""Lane groups from files, for `colouring.rules_from`: nothing else of this room reads YAML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from meltemi import config
from meltemi.config.files import SourceError, sources
from meltemi.config.lanes import lane_groups
from meltemi.config.load import of_kind
from meltemi.model import LaneGroup
from meltemi.proxyless.errors import SettingsError


def groups_in(paths: Sequence[Path]) -> tuple[LaneGroup, ...]:
    """The LaneGroups, each with its Lanes. Raises SettingsError, which names all that is wrong."""
    read: dict[str, config.Source] = {}
    problems: list[str] = []
    for path in paths:
        try:
            read |= {source.file: source for source in sources(path)}
        except SourceError as exc:
            problems.append(f"{path}: {exc.message}")
    loaded = config.load(list(read.values()), "default")
    problems += map(_said, config.errors(loaded.issues))
    groups = lane_groups(loaded.objects)
    known = {(group.namespace, group.name) for group in groups}
    for item in of_kind(loaded.objects, "Lane"):
        if (item.ref.namespace, item.spec.group) not in known:
            group = f"{item.ref.namespace}/{item.spec.group}"
            problems.append(f"Lane {item.ref.name}: there is no LaneGroup {group} in these files")
    if not groups and not problems:
        problems.append(f"no LaneGroup in {_listed(paths)}")
    if problems:
        raise SettingsError(problems)
    return groups


def _said(issue: config.Issue) -> str:
    return f"{issue} ({issue.hint})" if issue.hint else str(issue)


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths)) or "no file"
