"""Retry policies, Istio's default included."""

from __future__ import annotations

from typing import Any, Final

from meltemi.model import Retries
from meltemi.translate.structs import duration

DEFAULT: Final = Retries(2)
DEFAULT_CONDITIONS: Final = ("connect-failure", "refused-stream", "unavailable", "cancelled")
"""Istio's (pilot/pkg/networking/core/route/retry)."""

GRPC_CONDITIONS: Final = frozenset(
    ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
)
"""What gRPC's own client retries on (gRFC A44)."""

GRPC_ATTEMPTS: Final = 4
"""Retries that gRPC's client makes at most: it takes five attempts for the most."""


def policy(retries: Retries | None, *, grpc: bool) -> tuple[dict[str, Any], list[str]]:
    """Envoy's RetryPolicy, empty for none, and what gRPC's client lacks of it."""
    wanted = retries or DEFAULT
    if not wanted.attempts:
        return {}, []
    conditions = wanted.retry_on or DEFAULT_CONDITIONS
    made: dict[str, Any] = {"num_retries": {"value": wanted.attempts}}
    if wanted.backoff_s is not None:
        made["retry_back_off"] = {"base_interval": duration(wanted.backoff_s)}
    if grpc:
        return _for_grpc(made, wanted, conditions)
    statuses = [int(each) for each in conditions if each.isdigit()]
    named = [each for each in conditions if not each.isdigit()]
    if statuses and "retriable-status-codes" not in named:
        named.append("retriable-status-codes")
    made |= {"retry_on": ",".join(named), "retriable_status_codes": statuses}
    if wanted.per_try_timeout_s is not None:
        made["per_try_timeout"] = duration(wanted.per_try_timeout_s)
    return made, []


def _for_grpc(
    made: dict[str, Any], wanted: Retries, conditions: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    lacking = []
    if wanted.per_try_timeout_s is not None:
        lacking.append("gRPC's client has no perTryTimeout")
    if wanted.attempts > GRPC_ATTEMPTS:
        lacking.append(f"gRPC's client tries {GRPC_ATTEMPTS + 1} times at most")
    unknown = [each for each in wanted.retry_on if each not in GRPC_CONDITIONS]
    if unknown:
        lacking.append(f"gRPC's client does not know {', '.join(unknown)}")
    known = [each for each in conditions if each in GRPC_CONDITIONS]
    return ({**made, "retry_on": ",".join(known)} if known else {}), lacking
