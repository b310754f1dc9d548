"""The command `meltemi`: one file a command, imported when it is called.

A module `meltemi/cli/<name>.py` (dashes as underscores) holds a click command of the same name."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from meltemi import __version__
from meltemi.cli.errors import Failure

COMMANDS = {
    "up": "Run the mesh of a directory on this machine.",
    "apply": "Create or change objects of the running mesh.",
    "get": "Show objects of the running mesh.",
    "delete": "Delete an object that was applied.",
    "status": "Show processes and nodes of the running mesh.",
    "logs": "Show a workload's output.",
    "proxy": "Show what a running sidecar holds.",
    "explain": "Show which route a request would take, and why.",
    "validate": "Check documents; report every error at once.",
    "analyze": "Check documents together: what is valid but wrong.",
    "lanes": "Show what lanes stand for.",
    "dump-xds": "Show offline what a node would get.",
    "control-plane": "Run the xDS server alone.",
    "sidecar": "Run one sidecar alone.",
    "demo": "A guided tour that checks itself.",
    "completion": "Print the completion script of a shell.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        attribute = cmd_name.replace("-", "_")
        module = importlib.import_module(f"meltemi.cli.{attribute}")
        command = getattr(module, attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meltemi")
def cli() -> None:
    """Manage the layer-7 traffic of any RPC protocol with Istio's YAML."""


def main() -> None:
    """Entry point. Exit: 0 done, 1 failed, 2 wrong usage, 3 mesh or server unreachable."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = cli(prog_name="meltemi", standalone_mode=False)
    except Failure as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if os.environ.get("MELTEMI_DEBUG"):
            raise
        Failure(
            f"{type(error).__name__}: {error}",
            "This should have been said better. MELTEMI_DEBUG=1 shows where it happened.",
        ).show()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)  # what `ctx.exit` was given
