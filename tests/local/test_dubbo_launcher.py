"""examples/dubbo/run.py: Apache Dubbo where it can be built, else the pair in Python, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dubbo"
PYTHON_RUNS = "the Python pair runs; Apache Dubbo (Java) does not: "
TOOLS = {
    "java": "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2",
    "javac": "echo 'javac 21.0.2'",
    "mvn": 'echo "[INFO] --- compile ---"; touch built-by-maven; echo once >> calls',
}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("target", "__pycache__", ".*")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "dubbo", ignore=ignored))


def tools(example: Path, **scripts: str) -> dict[str, str]:
    """An environment whose path has these programs, and what their scripts run."""
    folder = example.parent / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("sh", "timeout", "touch", "sleep"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": str(folder), "DUBBO_SAMPLE": ""}


def run(example: Path, environment: dict[str, str], what: str = "build") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(example / "run.py"), what],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("scripts", "why"),
    [
        ({}, "there is no java of version 17"),
        ({"java": "echo 'openjdk version \"11.0.2\"' >&2"}, "there is no java of version 17"),
        ({"java": TOOLS["java"]}, "there is no javac of version 17 or newer on the path (a JDK)"),
        ({name: TOOLS[name] for name in ("java", "javac")}, "there is no mvn on the path (Maven)"),
        (
            {**TOOLS, "mvn": "echo '[ERROR] Could not transfer artifact'; exit 1"},
            "Maven failed: Could not transfer artifact",
        ),
    ],
)
def test_where_it_cannot_be_built_the_python_pair_runs(
    example: Path, scripts: dict[str, str], why: str
) -> None:
    code, said = run(example, tools(example, **scripts))
    assert code == 0
    assert f"{PYTHON_RUNS}{why}" in said
    assert "Traceback" not in said


def test_it_is_built_once_until_a_source_changes(example: Path) -> None:
    environment = tools(example, **TOOLS)
    calls = example / "java" / "calls"
    code, said = run(example, environment)
    assert (code, calls.read_text()) == (0, "once\n")
    assert "[INFO] --- compile ---" in said
    assert said.endswith(f"Apache Dubbo (Java) runs, from {example}/java/target\n")
    run(example, environment)
    assert calls.read_text() == "once\n"
    with (example / "java" / "pom.xml").open("a") as pom:
        pom.write("<!-- another -->")
    run(example, environment)
    assert calls.read_text() == "once\nonce\n"


def test_what_failed_is_not_tried_again_at_once(example: Path) -> None:
    environment = tools(example, **{**TOOLS, "mvn": "echo once >> calls; exit 1"})
    run(example, environment)
    _, said = run(example, environment)
    assert "tried again after 10 minutes" in said
    assert (example / "java" / "calls").read_text() == "once\n"


def test_a_build_has_a_time_limit(example: Path) -> None:
    launcher = example / "run.py"
    launcher.write_text(launcher.read_text().replace("BUILD_S = 300.0", "BUILD_S = 0.5"))
    code, said = run(example, tools(example, **{**TOOLS, "mvn": "exec sleep 30"}))
    assert code == 0
    assert "Maven was not ready after" in said


def test_a_pair_that_was_asked_for_and_cannot_run_is_a_failure(example: Path) -> None:
    environment = {**tools(example), "DUBBO_SAMPLE": "java"}
    assert run(example, environment)[0] == 1
    code, said = run(example, environment, "provider")
    assert code == 1
    assert said.startswith("Apache Dubbo (Java) cannot run: there is no java")


def test_what_it_starts_in_java_is_what_was_built(example: Path) -> None:
    shows = TOOLS["java"].replace("echo", '[ "$1" = -version ] || { echo ran "$@"; exit; }; echo')
    code, said = run(example, tools(example, **{**TOOLS, "java": shows}), "consumer")
    assert code == 0
    ran = said.splitlines()[-1]
    assert ran.startswith("ran ") and f"{example}/java/target/classes:" in ran
    assert ran.endswith(" org.apache.dubbo.samples.basic.Consumer")
