"""The Python face of the native engine; the only importer of `meltemi._engine`.

Routing, balancing and decoding happen there, outside the GIL: Python hands over serialized
resources and asks what the engine decided. `config` checks regular expressions with it, `analysis`
asks it for explanations, `sidecar` runs it, `proxyless` asks it where calls go.

- `Engine`: a running data path; resources go in with `update`, numbers come out.
- `Router`: decides the calls of a process without a sidecar; a `Call` is one of them. Why there is
  none is a `CallRefused`: `NotKnown`, `NoRoute`, `NoEndpoint`, `Overflow`, `DirectResponse`.
- `check_regex`: whether the engine takes a regular expression.
- `explain_route`: which route a request would take and why, by the code that routes.
- `explain_endpoint`: which endpoint a request of some hash goes to, by the code that balances.
- `explain_limit`: which bucket of a local rate limit a request would take a token from.
- `decode_messages`: what the engine's decoders make of bytes, for tests.

Each says in its docstring what it takes and raises. A fault inside the engine is a RuntimeError
here.
"""

from meltemi._engine import (
    Call,
    CallRefused,
    DirectResponse,
    Engine,
    NoEndpoint,
    NoRoute,
    NotKnown,
    Overflow,
    Router,
    check_regex,
    decode_messages,
    explain_endpoint,
    explain_limit,
    explain_route,
)

__all__ = [
    "Call",
    "CallRefused",
    "DirectResponse",
    "Engine",
    "NoEndpoint",
    "NoRoute",
    "NotKnown",
    "Overflow",
    "Router",
    "check_regex",
    "decode_messages",
    "explain_endpoint",
    "explain_limit",
    "explain_route",
]
