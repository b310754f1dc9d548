"""`meltemi lanes`: what lanes stand for."""

from __future__ import annotations

import sys

import click
import yaml

from meltemi import config
from meltemi.cli.documents import read_sources
from meltemi.cli.errors import FAILED
from meltemi.cli.pushed import print_issues
from meltemi.model.addresses import Addresses


@click.group()
def lanes() -> None:
    """Show what lanes stand for."""


@lanes.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-n", "--namespace", default="default", help="For documents without one.")
def show(paths: tuple[str, ...], namespace: str) -> None:
    """Print the VirtualServices and DestinationRules of the lanes in PATH, as YAML.

    PATH is a file, a folder or - (stdin). Exit status: 0 no error (warnings included), 1 not."""
    from meltemi.analysis.lane_rules import stands_for

    read, unreadable = read_sources(paths)
    loaded = config.load(read, namespace)
    mesh, together = config.build(loaded.objects, Addresses())
    for number, each in enumerate(stands_for(loaded.objects, mesh)):
        if number:
            click.echo("---")
        for comment in each.comments:
            click.echo(f"# {comment}")
        click.echo(yaml.safe_dump(each.document, sort_keys=False, width=4096), nl=False)
    wrong = config.errors([*unreadable, *loaded.issues, *together])
    print_issues([issue.as_json() for issue in wrong])
    if wrong:
        sys.exit(FAILED)
