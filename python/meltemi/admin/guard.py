"""Who may call an admin port: loopback, and no web page.

A page in the user's browser can send requests to 127.0.0.1; with a DNS name that it moves to
127.0.0.1 it could even read the answers ("DNS rebinding"). So the Host must be an address or
`localhost`, never a name that somebody else's DNS decides, and an Origin must be our own."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from meltemi.admin.http import Handler, HttpError, Request, Response


class RefusedAddress(Exception):
    """An address that is reached from outside this machine, without `--insecure`."""


def check_bind(address: str, insecure: bool) -> None:
    """Raises RefusedAddress for a host that is not of loopback, unless `insecure` allows it."""
    if not insecure and not is_loopback(address):
        raise RefusedAddress(
            f"{address} can be reached from other machines, and nothing here asks who calls"
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT`, with brackets around an IPv6 address. Raises ValueError with what is wrong."""
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{address!r} is not HOST:PORT")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{port!r} in {address!r} is not a port")
    return host.strip("[]"), int(port)


def guarded(handle: Handler) -> Handler:
    """`handle` for callers that are no web page; others get 403."""

    async def check(request: Request) -> Response:
        refuse_foreign_pages(request)
        return await handle(request)

    return check


def refuse_foreign_pages(request: Request) -> None:
    """Raises HttpError 403 when Host, Origin or Sec-Fetch-Site tell of another site's page."""
    host = request.headers.get("host", "")
    if not _is_address(host):
        raise HttpError(
            403, f"Host {host!r} is not an address", "call it by its address, or localhost"
        )
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise HttpError(403, f"a page of {origin!r} may not call this")
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise HttpError(403, "a page of another site may not call this")


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name) is not None
    except ValueError:
        return False
