"""The kinds of objects by every name that people give them on a command line."""

from __future__ import annotations

import difflib

import click

KINDS = {
    # kind: kubectl's short names (Istio's and Aeraki's CRDs); the plural is made by a rule
    "Service": ("svc",),
    "ServiceEntry": ("se",),
    "WorkloadEntry": ("we",),
    "DestinationRule": ("dr",),
    "VirtualService": ("vs",),
    "Gateway": ("gw",),
    "MetaRouter": ("mr",),
    "ApplicationProtocol": ("ap",),
    "Workload": ("wl",),
    "Sidecar": (),
    "EnvoyFilter": (),
    "WorkloadGroup": ("wg",),
    "ProxyConfig": (),
    "RedisService": ("rsvc",),
    "RedisDestination": ("rd",),
    "DubboAuthorizationPolicy": ("dap",),
    "LaneGroup": (),
    "Lane": (),
    "Protocol": (),
}


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


_BY_NAME = {
    name.lower(): kind for kind, short in KINDS.items() for name in (kind, _plural(kind), *short)
}


def kind_named(name: str) -> str:
    """`metarouters`, `MetaRouter`, `mr` -> `MetaRouter`; `metarouter.metaprotocol.aeraki.io` too.

    Raises click's BadParameter, with the nearest kind, for another name."""
    found = _BY_NAME.get(name.partition(".")[0].lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), _BY_NAME, n=1)
        hint = f"did you mean {_BY_NAME[near[0]]}?" if near else f"kinds: {', '.join(KINDS)}"
        raise click.BadParameter(f"there is no kind {name!r}; {hint}", param_hint="KIND")
    return found


class KindArgument(click.ParamType[str]):
    """A click parameter that is a kind; completes their names."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return kind_named(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        names = (kind.lower() for kind in KINDS)
        return [
            click.shell_completion.CompletionItem(name)
            for name in names
            if name.startswith(incomplete.lower())
        ]
