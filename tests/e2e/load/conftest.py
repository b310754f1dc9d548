from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "bench")]

from engines import MODES, Mode  # noqa: E402 - found by the path above


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Pooled connections, shared ones, and Dubbo, whose own way is to share."""
    return MODES[request.param]


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where `meltemi-load` and `meltemi-echo` are, built from the sources as they are."""
    command = ["cargo", "build", "--locked", "--quiet", "--package", "meltemi-bench"]
    subprocess.run(command, cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
