"""The native engine of Meltemi, built from crates/python. Import it through `meltemi.engine`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

__all__ = [
    "Call",
    "CallRefused",
    "Colouring",
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
    "hash_of",
]

@final
class Engine:
    def __new__(
        cls,
        *,
        workers: int,
        source_address: str | None,
        node: dict[str, str],
        access_log: str | None,
        access_log_format: str,
        limits: dict[str, int],
        metrics: bool = True,
    ) -> Engine: ...
    def update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str] = (),
    ) -> list[tuple[str, str]]: ...
    def clusters(self) -> list[dict[str, object]]: ...
    def warming(self) -> list[str]: ...
    def listener_errors(self) -> list[tuple[str, str]]: ...
    def stats(self) -> dict[str, int | float]: ...
    def prometheus(self) -> bytes: ...
    def set_log_level(self, level: str) -> None: ...
    def drain(self, deadline_s: float) -> bool: ...
    def close(self) -> None: ...

@final
class Router:
    def __new__(cls, *, seed: int | None = None) -> Router: ...
    def update(
        self,
        type_url: str,
        version: str,
        resources: Sequence[tuple[str, bytes]],
        removed: Sequence[str] = (),
    ) -> list[tuple[str, str]]: ...
    def call(
        self,
        listener: str,
        authority: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        caller: str | None = None,
    ) -> Call: ...
    def explain(
        self,
        listener: str,
        authority: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        caller: str | None = None,
    ) -> dict[str, object]: ...
    def clusters(self) -> list[dict[str, object]]: ...
    def lanes(self) -> list[dict[str, object]]: ...

@final
class Call:
    @property
    def address(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def mark(self) -> str | None: ...
    @property
    def lane(self) -> str | None: ...
    @property
    def peer(self) -> dict[str, str] | None: ...
    @property
    def attempt(self) -> int: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def per_try_timeout_s(self) -> float | None: ...
    @property
    def request_changes(self) -> tuple[tuple[str, str, str], ...]: ...
    @property
    def response_changes(self) -> tuple[tuple[str, str, str], ...]: ...
    def succeeded(self, status: int | None = None) -> None: ...
    def failed(self, reason: str, status: int | None = None) -> float | None: ...
    def abandoned(self) -> None: ...

class CallRefused(Exception): ...

class NotKnown(CallRefused):
    missing: list[tuple[str, str]]

class NoRoute(CallRefused): ...
class NoEndpoint(CallRefused): ...
class Overflow(CallRefused): ...

class DirectResponse(CallRefused):
    status: int
    body: str

_Match = tuple[str, str]
_Named = Sequence[tuple[str, _Match]]
_Entry = tuple[
    _Named,
    _Named,
    _Named,
    _Match | None,
    _Match | None,
    Sequence[str],
    tuple[int, str, str] | None,
]
_Group = tuple[str, Sequence[str], Sequence[tuple[str, Sequence[_Entry]]]]

@final
class Colouring:
    def __new__(cls, groups: Sequence[_Group] | None) -> Colouring: ...
    def changes(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        method: str,
        path: bytes,
        query: bytes,
        source: str,
        chance: int,
    ) -> tuple[list[tuple[int, bytes | None]], bytes] | None: ...

def check_regex(pattern: str) -> None: ...
def explain_endpoint(
    name: str, cluster: bytes, service: str, endpoints: bytes, hash: int
) -> str | None: ...
def explain_limit(configuration: bytes, attributes: Mapping[str, str]) -> dict[str, object]: ...
def explain_route(
    route_configuration: bytes, attributes: Mapping[str, str], caller: str | None = None
) -> list[dict[str, object]]: ...
def decode_messages(
    protocol: str, direction: str, data: bytes, chunk: int = 0
) -> list[dict[str, object]]: ...
def hash_of(value: bytes) -> int: ...
