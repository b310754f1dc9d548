"""`meltemi validate`: every error of documents at once, with its place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from meltemi import config
from meltemi.cli.errors import FAILED
from meltemi.cli.table import count
from meltemi.config.files import SourceError, sources
from meltemi.config.issues import Issue
from meltemi.model.addresses import Addresses

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@click.option(
    "-f", "--filename", "paths", multiple=True, metavar="PATH", help="File, folder or - (stdin)."
)
@click.argument("more", nargs=-1, metavar="[PATH]...")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.option("-n", "--namespace", default="default", help="For documents without one.")
@click.pass_context
def validate(
    ctx: click.Context, paths: tuple[str, ...], more: tuple[str, ...], output: str, namespace: str
) -> None:
    """Check documents and report every error at once.

    Exit status: 0 all valid (warnings included), 1 not."""
    if not (paths or more):
        raise click.UsageError("no document to check: name a file, a folder or - with -f", ctx)
    read, issues = _sources((*paths, *more))
    loaded = config.load(read, namespace)
    _, together = config.build(loaded.objects, Addresses())
    issues += [*loaded.issues, *together]
    issues.sort(key=lambda issue: (issue.file, issue.line, issue.column))
    if output == "json":
        click.echo(json.dumps([issue.as_json() for issue in issues], indent=2))
    else:
        _show(issues, len(read), len(loaded.objects))
    if config.errors(issues):
        sys.exit(FAILED)


def _sources(paths: tuple[str, ...]) -> tuple[list[config.Source], list[Issue]]:
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


def _show(issues: list[Issue], files: int, objects: int) -> None:
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
