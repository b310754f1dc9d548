"""The last good state in a file, for a start while the control plane is away.

It holds bodies of resources and nothing secret, but who may write it decides where calls go: it is
the user's own (0600 in a folder of 0700), and it belongs to one node and one server. What is
damaged, foreign or too old is not used, and a line in the log says so.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meltemi.xds.resource import Resource

log = logging.getLogger("meltemi.proxyless")

FORMAT: Final = 1
MAX_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LastKnown:
    """What a process knew."""

    resources: Mapping[str, Sequence[Resource]]
    """By type URL."""
    used_at: Mapping[str, float] = field(default_factory=dict)
    """By listener: when a client of it was made last, in seconds since the epoch."""


class _Unusable(Exception):
    """Why a file is not used."""


def save(path: Path, owner: str, known: LastKnown, now: float) -> None:
    """Replaces the file at once, or not at all. `owner`: node and server that it belongs to; `now`
    in seconds since the epoch. Raises OSError."""
    content = {
        "format": FORMAT,
        "owner": owner,
        "written_at": now,
        "used_at": dict(known.used_at),
        "resources": {
            type_url: [[each.name, each.version, _text(each.body)] for each in resources]
            for type_url, resources in known.resources.items()
        },
    }
    body = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_digest(body) + b"\n" + body)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def load(path: Path, owner: str, now: float, max_age_s: float) -> LastKnown | None:
    """What the file says; None where there is none that may be used."""
    try:
        return _parse(_read(path), owner, now, max_age_s)
    except FileNotFoundError:
        return None
    except (OSError, _Unusable) as exc:
        log.warning("the last known state in %s is not used: %s", path, exc)
        return None


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _Unusable("it is not a file")
        if found.st_uid != os.geteuid():
            raise _Unusable(f"it belongs to user {found.st_uid}")
        if found.st_mode & 0o077:
            raise _Unusable(
                f"others may use it (mode {found.st_mode & 0o777:o}); 600 would be right"
            )
        if found.st_size > MAX_BYTES:
            raise _Unusable(f"it has {found.st_size} bytes")
        return file.read()


def _parse(data: bytes, owner: str, now: float, max_age_s: float) -> LastKnown:
    digest, _, body = data.partition(b"\n")
    if digest != _digest(body):
        raise _Unusable("it is damaged")
    try:
        content = json.loads(body)
        if content["format"] != FORMAT:
            raise _Unusable(f"its format is {content['format']}, not {FORMAT}")
        if content["owner"] != owner:
            raise _Unusable(f"it is of {content['owner']}")
        age_s = now - float(content["written_at"])
        if not -60 <= age_s <= max_age_s:
            raise _Unusable(f"it is {age_s:.0f} s old; at most {max_age_s:.0f} s is used")
        return LastKnown(
            {
                str(type_url): [_resource(each) for each in resources]
                for type_url, resources in content["resources"].items()
            },
            {str(name): float(at) for name, at in content["used_at"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise _Unusable(f"it is damaged ({exc})") from exc


def _resource(raw: Any) -> Resource:
    name, version, body = raw
    return Resource(str(name), str(version), base64.b64decode(body, validate=True))


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode("ascii")


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
