"""istiod of `tests/interop/istiod`: it serves a directory of YAML, without Kubernetes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

SOURCES = Path(__file__).with_name("istiod")
BUILT = Path(__file__).resolve().parents[2] / ".cache" / "interop-istiod"
ISTIOD = BUILT / "istiod"
START_S = 60.0

ENVIRONMENT = {
    # Nobody signs certificates, and nobody shows one.
    "ENABLE_CA_SERVER": "false",
    "PILOT_ENABLE_XDS_IDENTITY_CHECK": "false",
    # How long a change waits for further ones: 100 ms by default.
    "PILOT_DEBOUNCE_AFTER": "20ms",
}
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def build() -> None:
    """Builds istiod, unless it is built. `make interop` does it before the tests."""
    done = subprocess.run(
        [str(SOURCES / "build.sh"), str(BUILT)], capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


class Istiod:
    """istiod that can be stopped and started again at the same ports."""

    def __init__(
        self, directory: Path, ports: tuple[int, int, int], settings: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self._settings = {**ENVIRONMENT, **settings}
        self.xds, self._http, self._monitoring = (f"127.0.0.1:{port}" for port in ports)
        self.log = directory.parent / f"{directory.name}.istiod.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it is ready."""
        arguments = ["-config", str(self.directory), "-grpc", self.xds]
        arguments += ["-http", self._http, "-monitoring", self._monitoring]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(ISTIOD), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._settings},
                cwd=self.directory.parent,
            )
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            assert self._process.poll() is None, f"it ended: {self.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"not ready: {self.log.read_text()[-4000:]}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._http}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def stop(self, *, at_once: bool = False) -> None:
        """By SIGTERM; `at_once` by SIGKILL, as a machine that goes away does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def running(
    directory: Path, ports: tuple[int, int, int], settings: Mapping[str, str] = NO_SETTINGS
) -> Iterator[Istiod]:
    """Starts istiod on `directory`; ports of xDS, of readiness and of metrics. `settings` are
    variables of its environment."""
    istiod = Istiod(directory, ports, settings)
    try:
        istiod.start()
        yield istiod
    finally:
        istiod.stop()
