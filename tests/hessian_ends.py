"""Where the engine says that the arguments of a Dubbo call end."""

from __future__ import annotations

from hessian_frames import MARK, Body, call
from meltemi.engine import decode_messages


def finds_mark(frame: bytes) -> bool:
    """Whether the attachment is found, so that the arguments end just before it."""
    try:
        (message,) = decode_messages("dubbo", "request", frame)
    except ValueError:
        return False
    attributes = message["attributes"]
    assert isinstance(attributes, dict)
    return attributes.get(MARK[0]) == MARK[1].encode()


def wrong_ends(body: Body) -> list[str]:
    """Where the engine sees the first one, two, … values end before their end, or not there."""
    wrong = []
    for count, end in enumerate(body.ends, 1):
        if not finds_mark(call(body.data[:end], count)):
            wrong.append(f"seed {body.seed}: {count} values do not end at {end}")
        if finds_mark(call(body.data[: end - 1], count)):
            wrong.append(f"seed {body.seed}: {count} values end at {end - 1}, before {end}")
    return wrong
