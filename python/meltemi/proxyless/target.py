"""What a user calls: `reviews:9080`, `reviews.default`, `http://details:9080/base`.

In gRPC's mode the name as it is written is the name of the listener (the server knows what short
names mean); as a sidecar a listener is found by the address that the name table says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from meltemi.proxyless.errors import SettingsError

SCHEMES: Final = {"http": 80, "https": 443, "grpc": 80, "thrift": 80, "xds": 80}
DEFAULT_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Target:
    """Parsed once, when a client is made."""

    text: str
    """As it was written, for messages."""
    host: str
    """Lower case, without brackets and without a final dot."""
    port: int
    authority: str
    """`host:port`, by which virtual hosts are chosen."""
    listener: str
    """The name that is asked for; as a sidecar the name under which the listener is looked up."""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Raises SettingsError."""
        written = text.strip()
        scheme, separator, _rest = written.partition("://")
        if separator and scheme.lower() not in SCHEMES:
            raise SettingsError(
                [f"{text!r}: the scheme {scheme!r} is none of {', '.join(SCHEMES)}"]
            )
        default = SCHEMES[scheme.lower()] if separator else DEFAULT_PORT
        try:
            parts = urlsplit(written if separator else f"//{written}")
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            wanted = "HOST:PORT, as in reviews:9080, with a port from 1 to 65535"
            raise SettingsError([f"{text!r} is no {wanted}"]) from exc
        host = (host or "").rstrip(".")
        if not host or any(c.isspace() for c in host) or port == 0:
            raise SettingsError([f"{text!r} is no HOST:PORT, as in reviews:9080"])
        port = port or default
        shown = f"[{host}]" if ":" in host else host
        authority = f"{shown}:{port}"
        return cls(written, host, port, authority, authority)
