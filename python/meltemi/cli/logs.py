"""`meltemi logs`: the output of a workload, of all its replicas."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from meltemi.cli.client import mesh_directory, mesh_option, read_processes
from meltemi.cli.errors import Failure

POLL_S = 0.1
CONTROL_PLANE = "control-plane"


@click.command()
@click.argument("workload")
@click.option("-f", "--follow", is_flag=True, help="Go on as new lines come.")
@click.option("--tail", type=click.IntRange(min=0), help="Only the last N lines of each replica.")
@click.option("--sidecar", is_flag=True, help="The sidecar's output instead: its access log.")
@click.option("-n", "--namespace", default="default", show_default=True)
@mesh_option
def logs(
    workload: str,
    follow: bool,
    tail: int | None,
    sidecar: bool,
    namespace: str,
    mesh: Path | None,
) -> None:
    """Show the output of WORKLOAD (NAME[-ORDINAL][.NAMESPACE]), of all its replicas.

    `control-plane` is the control plane's own."""

    directory = mesh_directory(mesh)
    files = _files(directory, workload, namespace, ".sidecar.log" if sidecar else ".log")
    prefix = len(files) > 1
    opened = [_Output(path) for path in files]
    for output in opened:
        for line in deque(output.lines(), maxlen=tail):
            _print(output.path, line, prefix)
    while follow:
        for output in opened:
            for line in output.lines():
                _print(output.path, line, prefix)
        time.sleep(POLL_S)


class _Output:
    """A file that `up` writes, and turns to a new one of the same name when it is large."""

    def __init__(self, path: Path) -> None:
        """Raises Failure."""
        self.path = path
        self._file = self._open()

    def lines(self) -> Iterator[str]:
        """What came since it was asked last."""
        yield from iter(self._file.readline, "")
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
                yield from iter(self._file.readline, "")
                self._file.close()
                self._file = self._open()
                yield from iter(self._file.readline, "")

    def _open(self) -> IO[str]:
        try:
            return self.path.open(errors="backslashreplace")
        except OSError as error:
            raise Failure(f"cannot read {self.path}: {error.strerror}") from error


def _files(directory: Path, workload: str, namespace: str, suffix: str) -> list[Path]:
    """The files of the replicas that `workload` means. Raises Failure."""
    folder = directory / ".meltemi" / "logs"
    if workload == CONTROL_PLANE and (folder / f"{CONTROL_PLANE}.log").is_file():
        return [folder / f"{CONTROL_PLANE}.log"]
    name, _, own_namespace = workload.partition(".")
    namespace = own_namespace or namespace
    there = {path.name.removesuffix(suffix): path for path in folder.glob(f"*.*{suffix}")}
    if suffix == ".log":
        there = {key: path for key, path in there.items() if not key.endswith(".sidecar")}
    found = [there[key] for key in sorted(there, key=_by_ordinal) if _is(key, name, namespace)]
    if found:
        return found
    for process in read_processes(directory).get("processes", []):
        if "workload" in process and _is(process["name"], name, namespace):
            problem = f": it {process['problem']}" if process.get("problem") else ""
            raise Failure(f"{process['name']} has no output yet{problem}")
    raise Failure(
        f"no output of {name} in namespace {namespace}",
        f"There is output of: {', '.join(sorted(there, key=_by_ordinal))}."
        if there
        else "`meltemi status` says what runs.",
    )


def _is(key: str, name: str, namespace: str) -> bool:
    """Whether POD.NAMESPACE is the replica, or one of the workload, called `name`."""
    pod, _, its_namespace = key.partition(".")
    workload, _, ordinal = pod.rpartition("-")
    return its_namespace == namespace and (pod == name or (workload == name and ordinal.isdigit()))


def _by_ordinal(key: str) -> tuple[str, int, str]:
    """`a-2.x` before `a-10.x`."""
    pod, _, namespace = key.partition(".")
    workload, _, ordinal = pod.rpartition("-")
    return (workload, int(ordinal), namespace) if ordinal.isdigit() else (pod, -1, namespace)


def _print(path: Path, line: str, prefix: bool) -> None:
    click.echo(
        f"{path.name.split('.')[0]} | {line}" if prefix else line, nl=not line.endswith("\n")
    )
