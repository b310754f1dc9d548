"""Measurements that run in a process of their own: what one leaves in memory is no burden to the
next, and what an engine in it logs is kept out of the progress that is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from runner.measurements.finding import Lab
from runner.processes import StartError

BENCH: Final = Path(__file__).resolve().parents[2]
CHILD: Final = """\
import dataclasses, json
import {module}
print(json.dumps(dataclasses.asdict({module}.{call})))
"""


def run(lab: Lab, module: str, call: str) -> dict[str, Any]:
    """The fields of the dataclass that a call of a module of `bench` returns. Raises StartError."""
    log = lab.logs / f"{module}.log"
    with log.open("wb") as errors:
        done = subprocess.run(
            [sys.executable, "-c", CHILD.format(module=module, call=call)],
            cwd=BENCH,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    if done.returncode:
        raise StartError(f"{module} failed: {log.read_text()[-500:].strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
