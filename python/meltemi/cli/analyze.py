"""`meltemi analyze`: what is valid but wrong together."""

from __future__ import annotations

import json
import sys

import click

from meltemi import config
from meltemi.cli.documents import read_sources, show
from meltemi.cli.errors import FAILED


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("-f", "--filename", "more", multiple=True, metavar="PATH", help="The same as PATH.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.option("-n", "--namespace", default="default", help="For documents without one.")
@click.pass_context
def analyze(
    ctx: click.Context, paths: tuple[str, ...], more: tuple[str, ...], output: str, namespace: str
) -> None:
    """Check documents one by one and together, as one mesh.

    PATH is a file, a folder or - (stdin). Exit status: 0 no error (warnings included), 1 not."""
    from meltemi.analysis.analyze import analyze as find

    if not (paths or more):
        raise click.UsageError("no document to analyze: name a file, a folder or -", ctx)
    read, unreadable = read_sources((*paths, *more))
    found, loaded = find(read, namespace)
    issues = [*unreadable, *found]
    if output == "json":
        click.echo(json.dumps([issue.as_json() for issue in issues], indent=2))
    else:
        show(issues, len(read), len(loaded.objects))
    if config.errors(issues):
        sys.exit(FAILED)
