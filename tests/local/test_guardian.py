from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

UP = textwrap.dedent(
    """
    import asyncio, os, sys
    from pathlib import Path
    from meltemi.local.guardian import Guardian
    from meltemi.local.process import Command, Process

    here = Path(sys.argv[1])
    guardian = Guardian()

    async def life():
        shell = "sleep 300 & echo $! > grandchild; wait; true"
        command = Command(("sh", "-c", shell), dict(os.environ), here)
        Process("a", command, here / "a.log", lambda: None, guardian=guardian).start()
        await asyncio.sleep(300)

    asyncio.run(life())
    """
)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except FileNotFoundError:
        return False


def within_10_s(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_what_a_workload_started_ends_when_up_is_killed(tmp_path: Path) -> None:
    up = subprocess.Popen([sys.executable, "-c", UP, str(tmp_path)])
    noted = tmp_path / "grandchild"
    try:
        within_10_s(lambda: noted.is_file() and noted.read_text().endswith("\n"))
        grandchild = int(noted.read_text())
        assert alive(grandchild)
    finally:
        up.send_signal(signal.SIGKILL)
        up.wait()
    try:
        within_10_s(lambda: not alive(grandchild))
    finally:
        if alive(grandchild):
            os.kill(grandchild, signal.SIGKILL)
