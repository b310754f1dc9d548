"""What the kernel says of the files in some folders (inotify(7)), as soon as it happens.

It says when a file was closed by who wrote it, so that nobody has to wait until it is quiet.
Used by `meltemi.config.files`."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_CREATE: Final = 0x100  # a link, or a folder; a file that is written is closed later
_DELETE: Final = 0x200
_ATTRIB: Final = 0x4  # what could not be read may be readable
_GONE: Final = 0x400 | 0x800  # the folder itself, removed or moved
_ONLYDIR: Final = 0x0100_0000
_WATCHED: Final = _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _ATTRIB | _GONE | _ONLYDIR

_EVENT: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_BYTES: Final = 64 * 1024

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches folders, but not what is in their subfolders, until `close`."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises FileNotFoundError for a folder that is not there, and OSError where the user has
        no watches left or the kernel none at all."""
        self._descriptor = _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            for folder in folders:
                path = os.fsencode(folder)
                _checked(_LIBC.inotify_add_watch(self._descriptor, path, _WATCHED))
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Of what becomes readable when something happened."""
        return self._descriptor

    def names(self) -> frozenset[str]:
        """Of the files that something happened to since the last call; "" for a folder itself, and
        where the kernel lost count. Does not wait."""
        found: set[str] = set()
        try:
            while data := os.read(self._descriptor, _READ_BYTES):
                at = 0
                while at < len(data):
                    _, _, _, size = _EVENT.unpack_from(data, at)
                    at += _EVENT.size
                    found.add(os.fsdecode(data[at : at + size].rstrip(b"\0")))
                    at += size
        except BlockingIOError:
            pass
        return frozenset(found)

    def close(self) -> None:
        os.close(self._descriptor)


def _checked(result: int) -> int:
    if result >= 0:
        return result
    number = ctypes.get_errno()
    if number == errno.ENOTDIR:
        number = errno.ENOENT  # a file has taken the folder's place
    raise OSError(number, os.strerror(number))
