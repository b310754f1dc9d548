"""Applied objects on disk: all or none, whatever happens in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meltemi.controlplane.applied import AppliedObjects
from meltemi.controlplane.state import StateError
from meltemi.model import ObjectRef

A = ObjectRef("MetaRouter", "default", "a")
B = ObjectRef("MetaRouter", "default", "b")
C = ObjectRef("Workload", "other", "c")


def stored(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.yaml"))}


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".yaml"]


def failing_at(call: int, function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """`function`, but its call number `call` raises."""
    count = 0

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise error
        return function(*arguments, **keywords)

    return wrapped


def test_a_change_puts_and_removes_together(tmp_path: Path) -> None:
    applied = AppliedObjects(tmp_path)
    applied.change({A: "a1", B: "b1"})
    applied.change({A: "a2", C: "c1"}, remove=[B])
    assert stored(tmp_path) == {
        "MetaRouter.default.a.yaml": "a2",
        "Workload.other.c.yaml": "c1",
    }
    assert left_over(tmp_path) == []


def test_names_that_no_file_can_have_get_files_of_their_own(tmp_path: Path) -> None:
    applied = AppliedObjects(tmp_path)
    strange = ObjectRef("MetaRouter", "default", "../../etc/passwd")
    long_1 = ObjectRef("MetaRouter", "n" * 63, "x" * 252 + "1")
    long_2 = ObjectRef("MetaRouter", "n" * 63, "x" * 252 + "2")
    applied.change({strange: "s", long_1: "1", long_2: "2"})
    assert sorted(stored(tmp_path).values()) == ["1", "2", "s"]
    assert all(applied.path(ref).parent == tmp_path for ref in (strange, long_1, long_2))


@pytest.mark.parametrize("step", range(1, 6))
def test_a_full_disk_at_any_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    applied = AppliedObjects(tmp_path)
    applied.change({A: "a1", B: "b1"})
    before = stored(tmp_path)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_at(step, os.fsync, full))
        try:
            applied.change({A: "a2", B: "b2", C: "c1"})
        except StateError as error:
            assert "No space left" in str(error)
            assert stored(tmp_path) == before
            assert left_over(tmp_path) == []
            return
    assert len(stored(tmp_path)) == 3, "no error: then all of it was stored"


class _KilledError(BaseException):
    """SIGKILL: nothing of ours runs any more."""


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("function", ["fsync", "replace", "unlink"])
def test_a_process_killed_at_any_step_leaves_all_of_a_change_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, step: int
) -> None:
    applied = AppliedObjects(tmp_path)
    applied.change({A: "a1", B: "b1"})
    before = stored(tmp_path)
    after = {"MetaRouter.default.a.yaml": "a2", "Workload.other.c.yaml": "c1"}
    with monkeypatch.context() as patch:
        owner: Any = os if function == "fsync" else Path
        killed = failing_at(step, getattr(owner, function), _KilledError())
        patch.setattr(owner, function, killed)
        if function != "unlink":  # after the kill, cleaning up does not happen either
            patch.setattr(Path, "unlink", lambda *_a, **_k: None)
        with pytest.raises((_KilledError, AssertionError)):
            applied.change({A: "a2", C: "c1"}, remove=[B])
            raise AssertionError("this step does not exist: the change ran to its end")
    AppliedObjects(tmp_path).recover()
    assert stored(tmp_path) in (before, after)
    assert left_over(tmp_path) == []


def test_one_object_can_be_removed_although_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = AppliedObjects(tmp_path)
    applied.change({A: "a1"})

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    applied.change({}, remove=[A])
    assert stored(tmp_path) == {}


def test_a_broken_journal_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text("{")
    with pytest.raises(StateError) as error:
        AppliedObjects(tmp_path).recover()
    assert "journal.json" in error.value.hint
