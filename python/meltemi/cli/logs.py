"""`meltemi logs`: the output of a workload, of all its replicas."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import IO

import click

from meltemi.cli.client import mesh_directory, mesh_option
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

    folder = mesh_directory(mesh) / ".meltemi" / "logs"
    files = _files(folder, workload, namespace, ".sidecar.log" if sidecar else ".log")
    prefix = len(files) > 1
    opened = [(_tail(path, tail), path) for path in files]
    for (lines, _), path in opened:
        for line in lines:
            _print(path, line, prefix)
    while follow:
        for (_, file), path in opened:
            while line := file.readline():
                _print(path, line, prefix)
        time.sleep(POLL_S)


def _files(folder: Path, workload: str, namespace: str, suffix: str) -> list[Path]:
    if workload == CONTROL_PLANE and (folder / f"{CONTROL_PLANE}.log").is_file():
        return [folder / f"{CONTROL_PLANE}.log"]
    name, _, own_namespace = workload.partition(".")
    namespace = own_namespace or namespace
    exact = folder / f"{name}.{namespace}{suffix}"
    if exact.is_file():
        return [exact]
    found = sorted(
        path
        for path in folder.glob(f"{name}-*.{namespace}{suffix}")
        if path.name[len(name) + 1 :].split(".")[0].isdigit()
    )
    if not found:
        names = {p.name.removesuffix(suffix) for p in folder.glob(f"*.*{suffix}")}
        there = ", ".join(sorted(n for n in names if not n.endswith(".sidecar")))
        raise Failure(
            f"no output of {name} in namespace {namespace}",
            f"There is output of: {there}." if there else "`meltemi status` says what runs.",
        )
    return found


def _tail(path: Path, count: int | None) -> tuple[deque[str], IO[str]]:
    file = path.open(errors="backslashreplace")
    return deque(file, maxlen=count), file


def _print(path: Path, line: str, prefix: bool) -> None:
    click.echo(
        f"{path.name.split('.')[0]} | {line}" if prefix else line, nl=not line.endswith("\n")
    )
