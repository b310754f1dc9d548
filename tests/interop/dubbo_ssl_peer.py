"""The client of dubbo-ssl-python (PyPI), in a virtual environment and a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).with_name("dubbo")
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".cache" / "interop-dubbo-python"


def install() -> Path:
    """Makes the environment, unless it is there; gives its interpreter."""
    wanted = SOURCES / "requirements.txt"
    stamp = ENVIRONMENT / "installed"
    python = ENVIRONMENT / "bin" / "python"
    digest = sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(wanted)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    stamp.write_text(digest)
    return python


@dataclass
class PythonClient:
    """A running client, with one connection to each host."""

    process: subprocess.Popen[str]
    host: str

    def call(
        self,
        method: str,
        *arguments: Any,
        interface: str = "interop.Shop",
        version: str = "1.0.0",
        context: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """What came back: `value`, or `error` and `message`; and `s`, how long it took."""
        return self.all(
            {
                "method": method,
                "arguments": arguments,
                "interface": interface,
                "version": version,
                "context": context,
            }
        )[0]

    def value(self, method: str, *arguments: Any, **how: Any) -> Any:
        found = self.call(method, *arguments, **how)
        assert "error" not in found, found
        return found["value"]

    def all(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """What came back from calls that are made at once, in the order in which they are given."""
        assert self.process.stdin is not None and self.process.stdout is not None
        for number, call in enumerate(calls):
            asked = {"version": "1.0.0", "interface": "interop.Shop", "context": None} | call
            asked |= {"number": number, "host": self.host}
            self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        found: dict[int, dict[str, Any]] = {}
        for _ in calls:
            line = self.process.stdout.readline()
            assert line, "the client ended"
            answer = json.loads(line)
            found[answer["number"]] = answer
        return [found[number] for number in range(len(calls))]


@contextlib.contextmanager
def client(host: str, port: int, log: Path) -> Iterator[PythonClient]:
    python = install()
    with log.open("a") as errors:
        process = subprocess.Popen(
            [str(python), str(SOURCES / "python_client.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield PythonClient(process, f"{host}:{port}")
        finally:
            process.kill()
            process.communicate()
