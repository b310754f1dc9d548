"""What a call without a sidecar can fail with. Each message says what, where, and what would be
right; `reason`s are the words of the engine that decided."""

from __future__ import annotations

from collections.abc import Sequence


class MeltemiError(Exception):
    """The base of all errors of this package."""


class SettingsError(MeltemiError):
    """Arguments or environment that cannot be used; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ClosedError(MeltemiError):
    """The mesh was closed."""


class NotReadyError(MeltemiError):
    """What a call needs is not known yet, or does not exist. `missing` has the type (`Listener`,
    `RouteConfiguration`, `Cluster`, `ClusterLoadAssignment`) and name of each resource."""

    def __init__(self, target: str, missing: Sequence[tuple[str, str]], why: str) -> None:
        self.target = target
        self.missing = tuple(missing)
        named = ", ".join(f"{kind} {name!r}" for kind, name in self.missing) or "nothing"
        super().__init__(f"cannot call {target}: {named} is not known: {why}")


class NoRouteError(MeltemiError):
    """No route takes the call."""


class NoEndpointError(MeltemiError):
    """The cluster that the route names has no endpoint that may be called."""


class CircuitBreakerError(MeltemiError):
    """The cluster has as many calls as its circuit breakers allow: this one was not sent."""


class DirectResponseError(MeltemiError):
    """The route answers by itself: no endpoint was asked. `status` is an HTTP status."""

    def __init__(self, status: int, body: str) -> None:
        self.status, self.body = status, body
        super().__init__(f"the route answers with status {status}: {body}")


class ConnectError(MeltemiError, ConnectionError):
    """No connection to an endpoint, after as many attempts as the route allows."""


class CallTimeoutError(MeltemiError, TimeoutError):
    """The call took longer than its route or its caller allows."""
