"""Documents that a command is given, and what is wrong with them on the screen."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from meltemi import config
from meltemi.cli.table import count
from meltemi.config.files import SourceError, sources
from meltemi.config.issues import Issue

_COLOURS = {"error": "red", "warning": "yellow"}


def read_sources(paths: tuple[str, ...]) -> tuple[list[config.Source], list[Issue]]:
    """What is in the paths, each file once, and what cannot be read of them."""
    found: dict[str, config.Source] = {}
    issues = []
    for path in paths:
        if path == "-":
            found["stdin"] = config.Source("stdin", sys.stdin.buffer.read())
            continue
        try:
            found |= {source.file: source for source in sources(Path(path))}
        except SourceError as error:
            issues.append(Issue(path, 0, 0, "", "error", "unreadable", error.message, error.hint))
    return list(found.values()), issues


def show(issues: list[Issue], files: int, objects: int) -> None:
    """Each issue with its place, and how many there are."""
    for issue in issues:
        place = f"{issue.file}:{issue.line}:{issue.column}" if issue.line else issue.file
        severity = click.style(issue.severity, fg=_COLOURS[issue.severity], bold=True)
        click.echo(f"{click.style(place, bold=True)}: {severity}: {issue.message}")
        if issue.hint:
            click.echo(f"    {issue.hint}")
    wrong = len(config.errors(issues))
    counts = [count(files, "file"), count(objects, "valid object"), count(wrong, "error")]
    counts.append(count(len(issues) - wrong, "warning"))
    click.echo(", ".join(counts))
