"""`meltemi apply`: creates or changes objects of the running mesh, all of them or none."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from meltemi.cli.client import MeshClient, mesh_option, namespace_option
from meltemi.cli.errors import FAILED, Failure
from meltemi.cli.pushed import print_issues, report

INVALID = 422
HELD_BY_FILE = 409


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE|-",
    help="A file, a directory of YAML files, or - for standard input; may be repeated.",
)
@click.argument("unnamed", nargs=-1, metavar="", type=click.UNPROCESSED)
@namespace_option
@mesh_option
def apply(
    files: tuple[str, ...], unnamed: tuple[str, ...], namespace: str, mesh: Path | None
) -> None:
    """Create or change objects of the running mesh.

    One document that does not pass the checks, and nothing is changed. What is applied is kept in
    DIR/.meltemi/config; the files of DIR are never edited."""
    if unnamed or not files:
        names = (*files, *unnamed) or ("FILE",)
        named = " ".join(f"-f {shlex.quote(name)}" for name in names)
        raise click.UsageError(f"name each file with -f: meltemi apply {named}")
    sources = [source for name in files for source in _read(name)]
    client = MeshClient.of(mesh)
    body = {"sources": [{"name": name, "text": text} for name, text in sources]}
    status, answer = client.call(
        "POST", "/v1/apply", {"namespace": namespace}, body, accept=(200, INVALID)
    )
    print_issues(answer["issues"])
    if status == INVALID:
        wrong = sum(issue["severity"] == "error" for issue in answer["issues"])
        errors = "1 error" if wrong == 1 else f"{wrong} errors"
        raise Failure(f"{errors}; nothing was changed", "Correct what is named above.", FAILED)
    report(answer)


def _read(name: str) -> list[tuple[str, str]]:
    """(name for messages, text) of a file, of each YAML file of a directory, or of stdin."""
    if name == "-":
        return [("-", _decode("-", sys.stdin.buffer.read()))]
    path = Path(name)
    paths = sorted((*path.glob("*.yaml"), *path.glob("*.yml"))) if path.is_dir() else [path]
    if not paths:
        raise Failure(f"{name} holds no YAML file", "Files end in .yaml or .yml.")
    return [(str(found), _read_file(found)) for found in paths]


def _read_file(path: Path) -> str:
    try:
        return _decode(str(path), path.read_bytes())
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8 text (byte {error.start})") from error
