"""The tour of examples/dubbo with Apache Dubbo; tests/e2e/test_demo.py has the Python pair."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.peers
@pytest.mark.timeout(500)
def test_every_step_of_the_tour_holds_with_apache_dubbo() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meltemi", "demo", "dubbo"],
        capture_output=True,
        text=True,
        timeout=480,
        env={**os.environ, "DUBBO_SAMPLE": "java"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Apache Dubbo (Java) runs" in done.stdout
    assert "Apache Dubbo 3.2.16 (Java): calling 127." in done.stdout
    assert "ok 10 calls of sayHello: refused 8, v1 2; exactly 2 pass" in done.stdout
    assert done.stdout.rstrip().endswith("The tour is complete: every step holds.")
