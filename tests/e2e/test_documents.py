"""The examples of the documents are run as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import Mesh, eventually, running

ROOT = Path(__file__).resolve().parents[2]


def block(document: str, mark: str) -> str:
    """The shell block behind `<!-- test: MARK -->`."""
    found = re.search(
        rf"<!-- test: {mark} -->\n```(?:sh|console)\n(.*?)```",
        (ROOT / document).read_text(),
        re.DOTALL,
    )
    assert found, f"{document} has no block marked {mark}"
    return found[1]


def run(script: str, mesh: Mesh) -> str:
    """Runs the lines as a user of this environment in the mesh's checkout would."""
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=mesh.directory.parent.parent,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    shutil.copytree(
        ROOT / "examples" / "thrift",
        tmp_path / "examples" / "thrift",
        ignore=shutil.ignore_patterns(".*", "__pycache__"),
    )
    with running(tmp_path / "examples" / "thrift") as running_mesh:
        yield running_mesh


def test_the_readme_is_true(mesh: Mesh) -> None:
    run(block("README.md", "apply"), mesh)
    name = "thrift-sample-client.meta-thrift"

    def all_v1() -> bool:
        lines = mesh.meltemi("logs", name, "--tail", "4").out.splitlines()
        return len(lines) == 4 and all("server-v1" in line for line in lines)

    eventually(all_v1, 15)
    shown = run(block("README.md", "look"), mesh)
    assert '"exact_match": "sayHello"' in shown
    assert run("meltemi delete MetaRouter hello -n meta-thrift", mesh)


def test_the_example_says_the_same_as_the_readme() -> None:
    rule = re.search(r"<<EOF\n(.*?)EOF", block("README.md", "apply"), re.DOTALL)
    example = re.search(
        r"<<EOF\n(.*?)EOF", (ROOT / "examples/thrift/README.md").read_text(), re.DOTALL
    )
    assert rule and example and rule[1] == example[1]
