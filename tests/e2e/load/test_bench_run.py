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
    """Runs it as it takes the least time."""
    words = ["run.py", "--noisy", "--rounds", "1", "--output", str(output), *options]
    return started(tools, output, *words)


def started(tools: Path, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of the benchmark with the tools as the tests have built them."""
    release = output / "target" / "release"
    release.mkdir(parents=True)
    for name in ("meltemi-load", "meltemi-echo"):
        (release / name).symlink_to(tools / name)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(output / "target")}
    script, *options = words
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *options],
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


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("print('{\"rps\": 1e9}')", 1, "one core, 16 x 16, 32 B: 0.00"),
        ("raise SystemExit('a reply was wrong')", 2, "a reply was wrong"),
    ],
)
def test_another_load_generator_that_disagrees_is_said(
    program: str, code: int, said: str, tools: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(f"#!{sys.executable}\n{program}\n")
    other.chmod(0o755)
    done = started(tools, tmp_path, "agree.py", str(other), "--rounds", "1")
    assert done.returncode == code
    assert said in done.stdout + done.stderr
