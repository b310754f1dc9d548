"""What the kernel says of a folder, and who follows it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from meltemi.config import Loaded
from meltemi.config.files import watch
from meltemi.config.inotify import Inotify

DOCUMENT = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {0}, namespace: demo}}
spec: {{address: {1}}}
"""


@contextlib.asynccontextmanager
async def following(path: Path) -> AsyncIterator[asyncio.Queue[Loaded]]:
    """What `watch` gives, within 10 s."""
    results: asyncio.Queue[Loaded] = asyncio.Queue()

    async def follow() -> None:
        async for loaded in watch(path):
            results.put_nowait(loaded)

    task = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(10):
            yield results
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_file_is_named_when_it_is_closed_and_not_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    kernel = Inotify([tmp_path])
    with path.open("w") as file:
        file.write("2")
        file.flush()
        assert kernel.names() == frozenset()
    assert kernel.names() == {"a.yaml"}
    assert kernel.names() == frozenset()
    kernel.close()


def test_a_rename_a_removal_and_a_change_of_permissions_are_named(tmp_path: Path) -> None:
    for name in ("new", "ä b.yaml", "c.yaml"):
        (tmp_path / name).write_text("1")
    kernel = Inotify([tmp_path])
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    (tmp_path / "ä b.yaml").unlink()
    (tmp_path / "c.yaml").chmod(0o600)
    assert kernel.names() == {"new", "a.yaml", "ä b.yaml", "c.yaml"}
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert kernel.names() == {""}
    kernel.close()


def test_a_folder_that_is_not_there_is_said_and_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "none", Path(__file__)):
        with pytest.raises(FileNotFoundError):
            Inotify([tmp_path, path])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_without_watches_files_are_followed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_folders: list[Path]) -> Inotify:
        raise OSError(errno.ENOSPC, "no watches left")

    monkeypatch.setattr(importlib.import_module("meltemi.config.files"), "Inotify", none_left)
    path = tmp_path / "a.yaml"
    path.write_text(DOCUMENT.format("a", "1.1.1.1"))
    async with following(tmp_path) as results:
        assert {item.spec.address for item in (await results.get()).objects} == {"1.1.1.1"}
        await asyncio.sleep(0.3)
        path.write_text(DOCUMENT.format("a", "1.1.1.2"))
        assert {item.spec.address for item in (await results.get()).objects} == {"1.1.1.2"}


async def test_files_that_are_saved_one_right_after_the_other_are_taken_together(
    tmp_path: Path,
) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.yaml").write_text(DOCUMENT.format(f"w{number}", "1.1.1.1"))
    async with following(tmp_path) as results:
        await results.get()
        await asyncio.sleep(0.1)
        for number in range(100):
            (tmp_path / f"{number:03}.yaml").write_text(DOCUMENT.format(f"w{number}", "1.1.1.2"))
        steps = 1
        while {item.spec.address for item in (await results.get()).objects} != {"1.1.1.2"}:
            steps += 1
    assert steps < 20
