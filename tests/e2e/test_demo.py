"""`meltemi demo`: each tour holds, and ends with 1 where a step does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def demo(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a tour; Dubbo's with the pair that is there everywhere (tests/interop has Apache's)."""
    return subprocess.run(
        [sys.executable, "-m", "meltemi", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=cwd,
        env={**os.environ, "DUBBO_SAMPLE": "python"},
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thrift", "dubbo", "proxyless", "bookinfo"])
def test_every_step_of_a_tour_holds(name: str) -> None:
    done = demo(name)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("The tour is complete: every step holds.")
    assert done.stdout.count("   ok ") >= 6


def test_the_dubbo_tour_says_which_pair_runs_and_why(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    ignored = shutil.ignore_patterns("target", "__pycache__", ".*")
    shutil.copytree(EXAMPLES / "dubbo", examples / "dubbo", ignore=ignored)
    mesh = examples / "dubbo" / "mesh.yaml"
    mesh.write_text(mesh.read_text().replace("service_group: batchjob", "service_group: other", 1))
    done = demo("dubbo", "--examples", str(examples))
    why = "DUBBO_SAMPLE=python asks for the Python pair"
    assert f"the Python pair runs; Apache Dubbo (Java) does not: {why}" in done.stdout
    assert "the Python pair: calling 127." in done.stdout
    # No provider is in the group of the subset: what the tour promises next does not hold.
    assert done.returncode == 1
    assert done.stderr.startswith("Error: this step does not hold: sayHello moves to v2")
    assert "Traceback" not in done.stderr


def test_the_rule_of_the_dubbo_example_fits_its_mesh(tmp_path: Path) -> None:
    readme = (EXAMPLES / "dubbo" / "README.md").read_text()
    (tmp_path / "rule.yaml").write_text(readme.partition("<<EOF\n")[2].partition("EOF")[0])
    shutil.copy(EXAMPLES / "dubbo" / "mesh.yaml", tmp_path)
    interface = "org.apache.dubbo.samples.basic.api.DemoService"
    asked = ["explain", interface, "--attr", "method=sayHello", "--config", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", *asked], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "warning" in done.stderr, "error" in done.stderr) == (0, False, False)
    assert "takes route batchjob" in done.stdout


def test_an_example_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = demo("dubbo", "--examples", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: there is no example {tmp_path}/dubbo")
