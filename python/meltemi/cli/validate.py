"""`meltemi validate`: every error of documents at once, with its place."""

from __future__ import annotations

import json
import sys

import click

from meltemi import config
from meltemi.cli.documents import read_sources, show
from meltemi.cli.errors import FAILED
from meltemi.model.addresses import Addresses


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
    read, issues = read_sources((*paths, *more))
    loaded = config.load(read, namespace)
    _, together = config.build(loaded.objects, Addresses())
    issues += [*loaded.issues, *together]
    issues.sort(key=lambda issue: (issue.file, issue.line, issue.column))
    if output == "json":
        click.echo(json.dumps([issue.as_json() for issue in issues], indent=2))
    else:
        show(issues, len(read), len(loaded.objects))
    if config.errors(issues):
        sys.exit(FAILED)
