"""Files as the source of a mesh: what is in a folder, and what changes there.

A folder is read with its subfolders, but for hidden ones: `*.yaml` and `*.yml`. The state of a
running mesh in `.meltemi` is such a hidden one. Which content counts, `last_good` decides."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR

import watchfiles

from meltemi.config.documents import MAX_FILE_BYTES
from meltemi.config.inotify import Inotify
from meltemi.config.issues import Issue
from meltemi.config.last_good import Content, LastGood
from meltemi.config.load import Loaded, Source

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 20_000

_QUIET_S = 0.05  # a save is said at once, unless another one was so short a while ago
_TOGETHER_S = 0.02  # then those of so long are said together
_AGAIN_S = 0.01  # a file that was being written is looked at again
_WRITING_S = 1.0  # since the last write: who has the file open still is not writing any more
_WRITING = Issue("", 0, 0, "", "error", "writing", "the file is being written")
_LOOK_S = 2.0  # without being told: file systems of a network, and folders that are renamed


_Changes = asyncio.Queue[frozenset[str]]
"""Names of files that changed together."""


class SourceError(Exception):
    """A path that cannot be read. `message` says why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def sources(path: Path) -> list[Source]:
    """The file, or the files of the folder, in the order of their names. Raises SourceError."""
    found = []
    for file, content in Files(path).contents().items():
        if isinstance(content, Issue):
            raise SourceError(content.message, content.hint)
        if content is not None:
            found.append(Source(file, content))
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: tuple[int, int, int]
    content: Content


class Files:
    """The files of one path. Reads again only what changed since the last time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, _Known] = {}
        self._folder = path.is_dir()
        self._was_there = False
        self.being_written = False
        """Whether a file was left as it was, since somebody was still writing it."""

    def contents(self, changed: frozenset[str] = frozenset()) -> dict[str, Content]:
        """What is in each file, by its path. Files of these names are read in any case: a
        second save within one tick of the clock leaves time and size as they were.

        Raises SourceError where `path` itself cannot be read."""
        known: dict[str, _Known] = {}
        self.being_written = False
        for entry in self._entries():
            name = str(entry)
            try:
                stat = entry.stat()
            except OSError:
                continue  # gone since it was listed
            if S_ISDIR(stat.st_mode):
                continue
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            before = self._known.get(name)
            if before is not None and before.stamp == stamp and entry.name not in changed:
                known[name] = before
                continue
            content = _read(entry, self._folder)
            if content is _WRITING and time.time() - stat.st_mtime < _WRITING_S:
                self.being_written = True
                if before is not None:
                    known[name] = replace(before, stamp=(0, 0, 0))  # read again, come what may
            else:
                held = content if content is not _WRITING else _read(entry, self._folder, any_=True)
                known[name] = _Known(stamp, held)
        self._known, self._was_there = known, True
        return {name: one.content for name, one in known.items() if one.content is not None}

    def folders(self) -> list[Path]:
        """What has to be watched: the folder and its subfolders, or that of the file."""
        if not self.path.is_dir():
            return [self.path.parent]
        return [Path(folder) for folder, _, _ in _walk(self.path)]

    def reads(self, name: str) -> bool:
        """Whether a file of that name is read; for "", that of a folder, it is not known."""
        if not self._folder:
            return name in ("", self.path.name)
        return not name or (name.endswith(SUFFIXES) and not name.startswith("."))

    def _entries(self) -> list[Path]:
        if not self.path.is_dir():
            if not self.path.exists():
                if self._was_there and not self._folder:
                    return []  # an editor may be about to put it back
                raise SourceError(
                    f"{self.path} is not there", "name a YAML file, or a folder with YAML files"
                )
            return [self.path]
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise SourceError(f"{self.path} cannot be read", "check the folder's permissions")
        found = [
            Path(folder, name)
            for folder, _, names in _walk(self.path)
            for name in names
            if self.reads(name)
        ]
        if len(found) > MAX_FILES:
            raise SourceError(
                f"{self.path} holds {len(found)} YAML files, at most {MAX_FILES} are read",
                "name the folder of the mesh itself",
            )
        return sorted(found)


def _walk(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, subfolders, names


def _read(path: Path, found: bool, *, any_: bool = False) -> Content:
    """`found` in a folder, where nobody named it: a pipe would block then.

    A file that somebody has open for writing is _WRITING, unless `any_` content will do: the
    first half of a rule may be a valid rule that says something else."""
    if found and not path.is_file():
        return _unreadable(path, f"{path} is no file", "remove it")
    try:
        with path.open("rb") as file:
            if not any_ and not _leased(file.fileno()):
                return _WRITING
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"{path} cannot be read: {reason}"
        return _unreadable(path, message, "check the file's permissions")


def _leased(descriptor: int) -> bool:
    """Takes a read lease (fcntl(2), F_SETLEASE) until the file is closed: nobody has the file open
    for writing, and who is about to waits for us. Where the kernel gives none, we go without."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # by default SIGIO, which kills
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def _unreadable(path: Path, message: str, hint: str) -> Issue:
    return Issue(str(path), 0, 0, "", "error", "unreadable", message, hint)


async def watch(path: Path, default_namespace: str = "default") -> AsyncIterator[Loaded]:
    """What counts now, and again each time that it changes; a save is seen at once.

    Raises SourceError where `path` cannot be read at the start. Later that is an issue, and
    what was there stays."""
    files, memory = Files(path), LastGood(default_namespace)
    good = memory.update(files.contents(), time.monotonic())
    assert good is not None
    said = good
    yield said
    while True:
        folders = await asyncio.to_thread(files.folders)
        changes: _Changes = asyncio.Queue()
        changes.put_nowait(frozenset())  # what changed before the watch began
        watching = asyncio.create_task(_follow(files, folders, changes))
        try:
            while await asyncio.to_thread(files.folders) == folders:
                deadline = memory.deadline
                if files.being_written:
                    soon = time.monotonic() + _AGAIN_S
                    deadline = soon if deadline is None else min(soon, deadline)
                changed = await _next(changes, watching, deadline)
                try:
                    contents = await asyncio.to_thread(files.contents, changed)
                except SourceError as error:
                    now = Loaded(good.objects, (_unreadable(path, error.message, error.hint),))
                    await asyncio.sleep(1)  # until it is back there is nothing to follow
                else:
                    now = good = memory.update(contents, time.monotonic()) or good
                if now != said:
                    said = now
                    yield said
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _next(
    changes: _Changes, watching: asyncio.Task[None], deadline: float | None
) -> frozenset[str]:
    """Names of files that changed; none where the deadline came first."""
    timeout_s = _LOOK_S
    if deadline is not None:
        timeout_s = min(timeout_s, max(0.0, deadline - time.monotonic()))
    getting = asyncio.ensure_future(changes.get())
    try:
        await asyncio.wait({getting, watching}, timeout=timeout_s, return_when="FIRST_COMPLETED")
        if getting.done():
            return getting.result()
        if watching.done():
            await asyncio.sleep(1)  # nothing to watch just now: look again
        return frozenset()
    finally:
        getting.cancel()


async def _follow(files: Files, folders: list[Path], changes: _Changes) -> None:
    """Puts what changed in `folders`, until there is nothing that could be watched."""
    try:
        kernel = Inotify(folders)
    except FileNotFoundError:
        return
    except OSError:
        await _poll(folders, changes)  # no watches left for this user
        return
    loop = asyncio.get_running_loop()
    news: _Changes = asyncio.Queue()
    loop.add_reader(kernel, lambda: news.put_nowait(kernel.names()))
    quiet_at = loop.time()
    try:
        while True:
            names = await _together(files, news, quiet_at)
            if any(map(files.reads, names)):
                quiet_at = loop.time() + _QUIET_S
            changes.put_nowait(names)
    finally:
        loop.remove_reader(kernel)
        kernel.close()


async def _together(files: Files, news: _Changes, quiet_at: float) -> frozenset[str]:
    """What changed: a save from `quiet_at` on at once; other things when they had the time to come
    to an end, as an editor's files of its own, or many files that are saved."""
    names = await news.get()
    loop = asyncio.get_running_loop()
    until = loop.time() + _TOGETHER_S
    while loop.time() < quiet_at or not any(map(files.reads, names)):
        try:
            async with asyncio.timeout_at(until):
                names |= await news.get()
        except TimeoutError:
            break
    return names


async def _poll(folders: list[Path], changes: _Changes) -> None:
    """As `_follow`, without the kernel's help."""
    try:
        async for batch in watchfiles.awatch(
            *folders, watch_filter=None, recursive=False, force_polling=True, poll_delay_ms=100
        ):
            changes.put_nowait(frozenset(Path(path).name for _, path in batch))
    except OSError:
        return
