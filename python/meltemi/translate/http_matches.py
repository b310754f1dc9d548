"""What an http route of a VirtualService asks of a request, as Envoy's RouteMatch."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

from meltemi.model import HttpMatch, StringMatch

GRPC_METHOD: Final = "POST"
"""Of every call; it is not among the headers that gRPC's client matches."""

MOST_WITHOUT: Final = 6
"""Absent headers of a match for gRPC's client: each doubles its routes."""


class CannotMatchError(ValueError):
    """The client cannot decide the match."""


def match(of: HttpMatch) -> dict[str, Any]:
    """As Istio has it. Raises CannotMatchError."""
    headers = [header(name, condition) for name, condition in of.headers]
    if of.method is not None:
        headers.append(header(":method", of.method))
    headers += [header(name, condition, without=True) for name, condition in of.without_headers]
    return _path(of) | ({"headers": headers} if headers else {})


def for_grpc(of: HttpMatch) -> list[dict[str, Any]]:
    """The matches that mean the same to gRPC's client, which says of a header that is not there
    that it is no match, inverted or not: so absence is a match of its own.

    Empty where no call can match. Raises CannotMatchError."""
    binary = [name for name, _ in (*of.headers, *of.without_headers) if name.endswith("-bin")]
    if binary:
        raise CannotMatchError(f"gRPC's client does not match the binary header {binary[0]}")
    if len(of.without_headers) > MOST_WITHOUT:
        raise CannotMatchError(f"withoutHeaders has more than {MOST_WITHOUT} headers")
    path = _path(of)
    if of.method is not None and not is_value(of.method, GRPC_METHOD):
        return []
    headers = [header(name, condition) for name, condition in of.headers]
    ways = [
        [header(name, StringMatch("present"), without=True)]
        + ([] if condition.kind == "present" else [_inverted(name, condition)])
        for name, condition in of.without_headers
    ]
    return [
        path | ({"headers": [*headers, *way]} if headers or way else {})
        for way in itertools.product(*ways)
    ]


def _path(of: HttpMatch) -> dict[str, Any]:
    if of.unsupported:
        raise CannotMatchError(f"{', '.join(of.unsupported)} is not there yet")
    made: dict[str, Any] = {"prefix": ""}
    if of.uri is not None:
        match of.uri.kind:
            case "exact":
                made = {"path": of.uri.value}
            case "regex":
                return {"safe_regex": {"regex": of.uri.value}}
            case _:
                made = {"prefix": of.uri.value}
        if of.ignore_uri_case:
            made["case_sensitive"] = {"value": False}
    return made


def header(name: str, condition: StringMatch, *, without: bool = False) -> dict[str, Any]:
    """A HeaderMatcher; `without`: a header that is not there counts as empty."""
    if condition.kind == "present":
        made: dict[str, Any] = {"name": name, "present_match": True}
    else:
        made = {"name": name, "string_match": string(condition)}
        if without:
            made["treat_missing_header_as_empty"] = True
    return {**made, "invert_match": True} if without else made


def _inverted(name: str, condition: StringMatch) -> dict[str, Any]:
    return {"name": name, "string_match": string(condition), "invert_match": True}


def string(condition: StringMatch) -> dict[str, Any]:
    """A StringMatcher of all kinds but `present`."""
    if condition.kind == "regex":
        return {"safe_regex": {"regex": condition.value}}
    return {condition.kind: condition.value}


def is_value(condition: StringMatch, value: str) -> bool:
    """Whether the condition holds for a value that is known beforehand."""
    match condition.kind:
        case "exact":
            return condition.value == value
        case "prefix":
            return value.startswith(condition.value)
        case _:
            return condition.kind == "present" or _full_match(condition.value, value)


def _full_match(pattern: str, value: str) -> bool:
    """The pattern was checked by the engine; what only RE2 knows does not match."""
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return False
