from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from meltemi.local import process as process_module
from meltemi.local.process import Command, Process, resolve


def command(tmp_path: Path, code: str) -> Command:
    return Command((sys.executable, "-c", textwrap.dedent(code)), dict(os.environ), tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False


async def until(holds: object, within_s: float = 10) -> None:
    assert callable(holds)
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


async def test_output_of_a_child_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    child = Process("a", command(tmp_path, "print('hello'); import time; time.sleep(60)"), log, _no)
    child.start()
    await until(lambda: log.is_file() and b"hello" in log.read_bytes())
    assert log.stat().st_mode & 0o777 == 0o600
    await child.stop()


async def test_a_child_that_ends_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = f"open({str(marks)!r}, 'a').write('x')"
    child = Process("a", command(tmp_path, code), tmp_path / "a.log", _no)
    child.start()
    await until(lambda: marks.is_file() and len(marks.read_text()) >= 3)
    assert child.restarts >= 2
    assert child.problem == "ended with exit code 0"
    await child.stop()


async def test_a_command_that_is_not_there_is_said_and_tried_again(tmp_path: Path) -> None:
    child = Process("a", Command(("/nonexistent/program",), {}, tmp_path), tmp_path / "a.log", _no)
    child.start()
    await until(lambda: child.problem is not None)
    assert child.problem == "cannot start (/nonexistent/program: No such file or directory)"
    assert child.pid is None
    await child.stop()


async def test_stop_ends_what_the_child_itself_started(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = f"""
        import subprocess, time
        child = subprocess.Popen(["sleep", "60"])
        open({str(pids)!r}, "w").write(str(child.pid))
        time.sleep(60)
    """
    child = Process("a", command(tmp_path, code), tmp_path / "a.log", _no)
    child.start()
    await until(lambda: pids.is_file() and pids.read_text() != "")
    grandchild = int(pids.read_text())
    await child.stop()
    await until(lambda: not alive(grandchild))


async def test_a_child_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STOP_S", 0.3)
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
    """
    log = tmp_path / "a.log"
    child = Process("a", command(tmp_path, code), log, _no)
    child.start()
    await until(lambda: log.is_file() and b"ready" in log.read_bytes())
    pid = child.pid
    assert pid is not None
    await child.stop()
    await until(lambda: not alive(pid))


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    parent_code = f"""
        import asyncio, os, sys
        from pathlib import Path
        from meltemi.local.process import Command, Process

        async def main():
            child = Process(
                "a", Command(("sleep", "60"), dict(os.environ), Path.cwd()),
                Path("a.log"), lambda: None,
            )
            child.start()
            while child.pid is None:
                await asyncio.sleep(0.01)
            Path({str(pids)!r}).write_text(str(child.pid))
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent_code)], cwd=tmp_path)
    deadline = time.monotonic() + 10
    while not (pids.is_file() and pids.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int(pids.read_text())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_full_disk_loses_output_and_not_the_child(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = tmp_path / "count"
    code = f"""
        import time
        for n in range(200):
            print("line", n, flush=True)
            open({str(lines)!r}, "w").write(str(n))
            time.sleep(0.001)
        time.sleep(60)
    """
    child = Process("a", command(tmp_path, code), Path("/dev/full"), _no)
    child.start()
    await until(lambda: lines.is_file() and lines.read_text() == "199")
    assert child.restarts == 0
    said = [r.getMessage() for r in caplog.records if "output is lost" in r.getMessage()]
    assert said == ["output is lost while /dev/full cannot be written: No space left on device"]
    await child.stop()


def test_a_leading_python_is_the_interpreter_of_meltemi() -> None:
    assert resolve(["python", "server.py"], "/venv/python") == ("/venv/python", "server.py")
    assert resolve(["./server"], "/venv/python") == ("./server",)


def _no() -> None:
    """Nobody wants to know."""


async def test_a_command_that_no_kernel_takes_is_said(tmp_path: Path) -> None:
    child = Process("a", Command(("a\0b",), {}, tmp_path), tmp_path / "a.log", _no)
    child.start()
    await until(lambda: child.problem is not None)
    assert child.problem is not None and "null byte" in child.problem
    await child.stop()
