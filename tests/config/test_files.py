"""Files are found, read, and followed while editors change them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from meltemi.config import Loaded
from meltemi.config.files import Files, SourceError, sources, watch

DOCUMENT = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {0}}}
spec: {{address: {1}}}
"""


def test_a_folder_is_its_yaml_files_and_those_of_its_folders_but_hidden_ones(
    tmp_path: Path,
) -> None:
    for name in ["b.yaml", "a.yml", "sub/deep/c.yaml", ".hidden.yaml", ".meltemi/config/x.yaml",
                 "notes.txt", "a.yaml~", "#a.yaml#", "server.py"]:  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    found = [Path(source.file).relative_to(tmp_path) for source in sources(tmp_path)]
    assert [str(path) for path in found] == ["a.yml", "b.yaml", "sub/deep/c.yaml"]


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    path.write_text("{}")
    assert [source.content for source in sources(path)] == [b"{}"]


def test_a_path_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        sources(tmp_path / "nope")
    assert error.value.message == f"{tmp_path / 'nope'} is not there"
    assert error.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    (tmp_path / "b.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "b.yaml")
    assert Files(tmp_path).contents() == {}
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(SourceError, match="is no file"):
        sources(tmp_path)


class Following:
    """`watch` as a test sees it."""

    def __init__(self, path: Path) -> None:
        self.results: asyncio.Queue[Loaded] = asyncio.Queue()
        self.task = asyncio.create_task(self._run(path))

    async def _run(self, path: Path) -> None:
        async for loaded in watch(path):
            self.results.put_nowait(loaded)

    async def next(self) -> list[str]:
        loaded = await asyncio.wait_for(self.results.get(), 10)
        return [f"{item.ref.name}={item.spec.address}" for item in loaded.objects] + [
            issue.code for issue in loaded.issues
        ]


@contextlib.asynccontextmanager
async def following(path: Path) -> AsyncIterator[Following]:
    made = Following(path)
    try:
        yield made
    finally:
        made.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await made.task


async def test_every_way_to_save_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(DOCUMENT.format("a", "1.1.1.1"))
    async with following(tmp_path) as seen:
        assert await seen.next() == ["a=1.1.1.1"]
        path.write_text(DOCUMENT.format("a", "1.1.1.2"))
        assert await seen.next() == ["a=1.1.1.2"]
        temporary = tmp_path / ".a.swp"
        temporary.write_text(DOCUMENT.format("a", "1.1.1.3"))
        temporary.replace(path)
        assert await seen.next() == ["a=1.1.1.3"]
        path.rename(tmp_path / "a.yaml~")
        path.write_text(DOCUMENT.format("a", "1.1.1.4"))
        assert await seen.next() == ["a=1.1.1.4"]
        path.write_text("")
        await asyncio.sleep(0.05)
        path.write_text(DOCUMENT.format("a", "1.1.1.5"))
        assert await seen.next() == ["a=1.1.1.5"]
        path.write_text("{")
        assert await seen.next() == ["a=1.1.1.5", "yaml-syntax"]
        path.unlink()
        assert await seen.next() == []


async def test_folders_that_appear_later_are_followed_too(tmp_path: Path) -> None:
    async with following(tmp_path) as seen:
        assert await seen.next() == []
        path = tmp_path / "sub" / "deep" / "b.yml"
        path.parent.mkdir(parents=True)
        path.write_text(DOCUMENT.format("b", "1.1.1.1"))
        assert await seen.next() == ["b=1.1.1.1"]
        path.write_text(DOCUMENT.format("b", "1.1.1.2"))
        assert await seen.next() == ["b=1.1.1.2"]


async def test_a_single_file_is_followed_through_renames(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(DOCUMENT.format("a", "1.1.1.1"))
    async with following(path) as seen:
        assert await seen.next() == ["a=1.1.1.1"]
        (tmp_path / "other.yaml").write_text(DOCUMENT.format("b", "1.1.1.1"))
        (tmp_path / "new").write_text(DOCUMENT.format("a", "1.1.1.2"))
        (tmp_path / "new").replace(path)
        assert await seen.next() == ["a=1.1.1.2"]


async def test_a_save_is_seen_within_100_ms(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(DOCUMENT.format("a", "1.1.1.0"))
    times_s = []
    async with following(tmp_path) as seen:
        await seen.next()
        await asyncio.sleep(0.1)
        for number in range(1, 8):
            start = time.monotonic()
            path.write_text(DOCUMENT.format("a", f"1.1.1.{number}"))
            assert await seen.next() == [f"a=1.1.1.{number}"]
            times_s.append(time.monotonic() - start)
            await asyncio.sleep(0.03)
    assert sorted(times_s)[len(times_s) // 2] < 0.1, times_s


async def test_a_folder_that_vanishes_keeps_the_mesh_and_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.yaml").write_text(DOCUMENT.format("a", "1.1.1.1"))
    async with following(folder) as seen:
        assert await seen.next() == ["a=1.1.1.1"]
        folder.rename(tmp_path / "away")
        assert await seen.next() == ["a=1.1.1.1", "unreadable"]
        (tmp_path / "away").rename(folder)
        assert await seen.next() == ["a=1.1.1.1"]


async def test_a_watch_of_nothing_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        await anext(watch(tmp_path / "nope"))


def test_a_file_that_somebody_is_writing_keeps_what_it_held_until_it_is_closed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("whole: 1\n")
    files = Files(tmp_path)
    assert files.contents() == {str(file): b"whole: 1\n"}
    with file.open("w") as writing:
        writing.write("who")
        writing.flush()
        assert files.contents(frozenset({"a.yaml"})) == {str(file): b"whole: 1\n"}
        assert files.being_written
    assert files.contents() == {str(file): b"who"}
    assert not files.being_written


def test_a_file_that_is_held_open_is_read_once_it_was_quiet(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with file.open("w") as writing:
        writing.write("a: 1\n")
        writing.flush()
        os.utime(file, (time.time() - 5, time.time() - 5))
        assert Files(tmp_path).contents() == {str(file): b"a: 1\n"}
