"""Options of the engine that `up` and `sidecar` share, judged by the engine before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])
WORDS = ("text", "json")


class Limit(click.ParamType[tuple[str, int]]):
    """`NAME=VALUE`; which names there are is the engine's to say (`check_engine_options`)."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if not name or not number.isascii() or not number.isdigit():
            self.fail(f"{value!r} is not NAME=VALUE with a whole number", param, ctx)
        return name, int(number)


def limit_option(flag: str, whose: str) -> Callable[[AnyCommand], AnyCommand]:
    """Adds the repeatable option `flag`, as `limits`."""
    return click.option(
        flag,
        "limits",
        type=Limit(),
        multiple=True,
        metavar="NAME=VALUE",
        help=f"Limit of {whose}, such as max_connections=500 or request_timeout_ms=3000; "
        "docs/operations.md has the names. May be repeated.",
    )


def access_log_format_option(whose: str) -> Callable[[AnyCommand], AnyCommand]:
    """Adds `--access-log-format`."""
    return click.option(
        "--access-log-format",
        default="text",
        show_default=True,
        help=f"Of {whose}: text, json, or a format with Envoy's %...% words.",
    )


def check_engine_options(
    access_log_format: str, limits: Mapping[str, int], limit_flag: str
) -> None:
    """Asks the engine that will run with them. Raises click.BadParameter."""
    from meltemi.engine import Engine

    if access_log_format not in WORDS and "%" not in access_log_format:
        raise click.BadParameter(
            f"{access_log_format!r} is neither text nor json nor a format with %...% words",
            param_hint="--access-log-format",
        )
    for format_, some, flag in (
        (access_log_format, {}, "--access-log-format"),
        ("text", dict(limits), limit_flag),
    ):
        try:
            Engine(
                workers=1,
                source_address=None,
                node={},
                access_log="-" if flag == "--access-log-format" else None,
                access_log_format=format_,
                limits=some,
            ).close()
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=flag) from error
