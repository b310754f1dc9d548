"""The built files of the page, as they are served."""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "dist"
"""What `make page` writes."""
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    content_type: str
    body: bytes
    gzipped: bytes
    etag: str
    forever: bool
    """Whether its name says its content, so that a browser never has to ask again."""


@functools.cache
def files() -> Mapping[str, File]:
    """Every file by its path on the server; `/` is index.html. Read once."""
    found = {
        f"/{path.relative_to(FOLDER).as_posix()}": _file(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in TYPES
    }
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found


def _file(path: Path) -> File:
    body = path.read_bytes()
    return File(
        TYPES[path.suffix],
        body,
        gzip.compress(body, 9, mtime=0),
        f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        path.parent.name == "assets",
    )
