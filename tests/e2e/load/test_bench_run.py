"""The benchmark itself, from its command line to its results, at its smallest point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.load

ROOT = Path(__file__).resolve().parents[3]


def bench(tools: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs it with the tools as the tests have built them."""
    release = output / "target" / "release"
    release.mkdir(parents=True)
    for name in ("meltemi-load", "meltemi-echo"):
        (release / name).symlink_to(tools / name)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(output / "target")}
    command = [sys.executable, str(ROOT / "bench" / "run.py"), "--noisy", "--rounds", "1"]
    return subprocess.run(
        [*command, "--output", str(output), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


def test_a_run_compares_with_envoy_and_a_direct_connection(tools: Path, tmp_path: Path) -> None:
    done = bench(tools, tmp_path, "--only", "G10")
    assert done.returncode == 0, done.stderr
    [result] = json.loads((tmp_path / "results.json").read_text())
    assert (result["id"], result["failed"], result["wrong"]) == ("G10", "", "")
    assert result["ratio"] > 0
    assert result["noisy"] is True
    text = (tmp_path / "results.txt").read_text()
    for target in ("direct", "meltemi pool", "envoy thrift", "envoy thrift passthrough"):
        assert f"\n  {target}  " in text
    assert "0:00 left" in done.stderr


def test_a_goal_that_does_not_exist_is_wrong_usage(tools: Path, tmp_path: Path) -> None:
    done = bench(tools, tmp_path, "--only", "G99")
    assert done.returncode == 2
    assert "G31" in done.stderr
    assert not (tmp_path / "results.json").exists()
