"""The tour of Dubbo with Apache Dubbo's own pair (tests/e2e has the Python pair's)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.peers
@pytest.mark.timeout(500)
def test_every_step_of_the_tour_holds_with_apache_dubbo(java_peers: None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", "demo", "dubbo"],
        capture_output=True,
        text=True,
        timeout=450,
        env={**os.environ, "DUBBO_SAMPLE": "java"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "Apache Dubbo (Java) runs" in done.stdout
    assert done.stdout.rstrip().endswith("The tour is complete: every step holds.")
