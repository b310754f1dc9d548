"""Valid fields whose behaviour is not there yet: each is named, none is silent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from meltemi.config.issues import Finding, written
from meltemi.config.place import Place
from meltemi.config.schema.types import NotYet, Schema


def fields(schema: type[Schema], spec: Place) -> Iterator[Finding]:
    """A warning for each field that is set to ask for what is not there."""
    yield from _fields(schema, spec, spec.value)


def _fields(schema: type[Schema], place: Place, spec: Any) -> Iterator[Finding]:
    if not isinstance(place.value, dict):
        return
    known = _known(schema)
    for key in place.value:
        mark, inner = known.get(key, (None, None))
        child = place[key]
        if mark is not None and mark.holds(spec) and mark.asked(child.value):
            value = f": {child.value}" if isinstance(child.value, str) else ""
            yield child.warning(
                "not-there-yet", f"{written(child.path)}{value} is not there yet",
                mark.hint,
            )  # fmt: skip
        elif inner is not None:
            for part in (child, *child.items) if isinstance(child.value, list) else (child,):
                yield from _fields(inner, part, spec)


def known_names(schema: type[Schema], path: tuple[str | int, ...]) -> list[str]:
    """The fields that there are in the mapping at `path`."""
    here: Any = schema
    for step in path:
        here = _below(here, step)
    found = _inner(here)
    return list(_known(found)) if found is not None else []


def _below(annotation: Any, step: str | int) -> Any:
    """The type of what stands at `step` of a value: a field, an element, or a key of a map."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        for name, field in annotation.model_fields.items():
            if (field.alias or name) == step:
                return field.annotation
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is list:
        return inner[0]
    if origin is dict:
        return inner[1]
    if origin in (Union, UnionType, Annotated):
        below = (_below(part, step) for part in inner)
        return next((found for found in below if found is not None), None)
    return None


@cache
def _known(schema: type[Schema]) -> dict[str, tuple[NotYet | None, type[Schema] | None]]:
    """Per YAML name of a field: its mark, and the schema of what is in it."""
    found = {}
    for name, field in schema.model_fields.items():
        mark = next((item for item in field.metadata if isinstance(item, NotYet)), None)
        found[field.alias or name] = (mark, _inner(field.annotation))
    return found


def _inner(annotation: Any) -> type[Schema] | None:
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated, list):
        for part in get_args(annotation):
            inner = _inner(part)
            if inner is not None:
                return inner
    return None
