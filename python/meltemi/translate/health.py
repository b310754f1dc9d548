"""What of a cluster is about load and health: circuit breakers and outlier detection.

As Istio writes them: `applyConnectionPool`, `applyOutlierDetection` in pilot/pkg/networking/core.

Called by translate.clusters."""

from __future__ import annotations

from typing import Any, Final

from meltemi.model import ConnectionPool, OutlierDetection, RetryBudget, TrafficPolicy
from meltemi.translate.dialect import Dialect
from meltemi.translate.structs import duration

UNLIMITED: Final = 2**32 - 1
"""Istio lifts Envoy's own limits of 1024 connections and requests, and of 3 retries."""


def settings(policy: TrafficPolicy, dialect: Dialect) -> dict[str, Any]:
    """The fields of a Cluster. gRPC's own client knows max_requests and no failures in a row."""
    pool = policy.connection_pool or ConnectionPool()
    made: dict[str, Any] = {}
    limits = _thresholds(pool, policy.retry_budget, dialect)
    if limits:
        made["circuit_breakers"] = {"thresholds": [limits]}
    outlier = policy.outlier_detection
    if outlier is not None and dialect is not Dialect.GRPC:
        made["outlier_detection"] = _outlier_detection(outlier)
        # Said also where it is 0: Envoy's own default is 50.
        threshold = {"value": float(outlier.min_health_percent)}
        made["common_lb_config"] = {"healthy_panic_threshold": threshold}
    return made


def _thresholds(
    pool: ConnectionPool, budget: RetryBudget | None, dialect: Dialect
) -> dict[str, Any]:
    limits = {
        "max_connections": pool.max_connections,
        "max_pending_requests": pool.max_pending_requests,
        "max_requests": pool.max_requests,
        "max_retries": pool.max_retries,
    }
    if dialect is Dialect.GRPC:
        limits = {"max_requests": pool.max_requests}
    if dialect is Dialect.ENVOY:
        limits = {name: limit or UNLIMITED for name, limit in limits.items()}
    made: dict[str, Any] = {name: {"value": limit} for name, limit in limits.items() if limit}
    if dialect is Dialect.ENVOY:
        made["track_remaining"] = True
    if budget is not None and dialect is not Dialect.GRPC:
        made["retry_budget"] = {
            "budget_percent": {"value": budget.percent},
            "min_retry_concurrency": {"value": budget.min_retry_concurrency},
        }
    return made


def _outlier_detection(said: OutlierDetection) -> dict[str, Any]:
    """Istio never ejects by success rate, and enforces what a rule names with a number above 0."""
    made: dict[str, Any] = {"enforcing_success_rate": {"value": 0}}
    for name, limit in (
        ("consecutive_5xx", said.consecutive_5xx),
        ("consecutive_gateway_failure", said.consecutive_gateway_errors),
    ):
        if limit is not None:
            made[name] = {"value": limit}
            made[f"enforcing_{name}"] = {"value": 100 if limit else 0}
    if said.interval_s is not None:
        made["interval"] = duration(said.interval_s)
    if said.base_ejection_time_s is not None:
        made["base_ejection_time"] = duration(said.base_ejection_time_s)
    if said.max_ejection_percent is not None:
        made["max_ejection_percent"] = {"value": said.max_ejection_percent}
    if said.split_local_origin:
        made["split_external_local_origin_errors"] = True
        made["enforcing_local_origin_success_rate"] = {"value": 0}
        limit = said.consecutive_local_origin_failures
        if limit is not None:
            made["consecutive_local_origin_failure"] = {"value": limit}
            made["enforcing_consecutive_local_origin_failure"] = {"value": 100}
    return made
