"""How a command fails: one clear sentence, what to do, and the right exit code."""

from __future__ import annotations

import click

FAILED = 1
UNREACHABLE = 3


class Failure(Exception):
    """Ends the command with `message` (what is wrong) and `hint` (what to do) on standard error."""

    def __init__(self, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code

    def show(self) -> None:
        click.echo(f"Error: {self.message}", err=True)
        if self.hint:
            click.echo(f"  {self.hint}", err=True)
