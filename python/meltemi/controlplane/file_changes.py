"""What a saved file changed, in a line for people. Pure; `controlplane.mesh` logs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meltemi.config import Loaded, errors
from meltemi.model import ObjectRef
from meltemi.model.edited import edited

NAMED = 5
"""How many objects a line names."""


def lines(before: Loaded, after: Loaded) -> Iterator[str]:
    """One line for all objects that were added, changed or removed, and one for each file whose
    errors are gone; none where nothing of that happened."""
    where = edited(before.objects, after.objects)
    left, right = (
        {id(item): item for item in each.objects[part]}
        for each, part in zip((before, after), where, strict=True)
    )
    old = {left[key].ref: left[key].raw for key in left.keys() - right.keys()}
    new = {right[key].ref: right[key].raw for key in right.keys() - left.keys()}
    changes = [
        *((("added", ref)) for ref in sorted(new) if ref not in old),
        *((("changed", ref)) for ref in sorted(new) if ref in old and old[ref] != new[ref]),
        *((("removed", ref)) for ref in sorted(old) if ref not in new),
    ]
    if changes:
        yield _summary(changes)
    still = {issue.file for issue in errors(after.issues)}
    for file in dict.fromkeys(issue.file for issue in errors(before.issues)):
        if file not in still:
            yield f"{file}: no errors any more"


def _summary(changes: list[tuple[str, ObjectRef]]) -> str:
    """`added A, B; changed C; removed D and 7 more`."""
    named = changes[:NAMED]
    words = []
    for action in dict.fromkeys(action for action, _ in named):
        refs = _names(ref for each, ref in named if each == action)
        words.append(f"{action} {refs}")
    more = len(changes) - len(named)
    return "files: " + "; ".join(words) + (f" and {more} more" if more else "")


def _names(refs: Iterable[ObjectRef]) -> str:
    return ", ".join(f"{ref.kind} {ref.namespace}/{ref.name}" for ref in refs)
