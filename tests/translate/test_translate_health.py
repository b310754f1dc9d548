"""Circuit breakers and outlier detection: what each kind of client is told of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from meltemi.model import ConnectionPool, OutlierDetection, RetryBudget, Subset, TrafficPolicy
from meltemi.xds.resource import Client
from sample_mesh import CLIENT, HOST, mesh, node, resources, rule, service

POOL = ConnectionPool(max_connections=1, max_pending_requests=2, max_requests=3, max_retries=4)
LIMITS = {
    "max_connections": 1,
    "max_pending_requests": 2,
    "max_requests": 3,
    "max_retries": 4,
}
OURS = (Client.SIDECAR, Client.SDK)


def cluster(policy: TrafficPolicy, client: Client, subset: Subset | None = None) -> dict[str, Any]:
    subsets = (subset,) if subset else ()
    one = mesh(service(), rule(policy=policy, subsets=subsets))
    name = subset.name if subset else ""
    found = resources(one, node(CLIENT, client))["Cluster"][f"outbound|9090|{name}|{HOST}"]
    assert isinstance(found, dict)
    return found


def limits(policy: TrafficPolicy, client: Client) -> dict[str, Any]:
    (found,) = cluster(policy, client)["circuit_breakers"]["thresholds"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("client", OURS)
def test_what_a_pool_limits_our_own_clients_are_told(client: Client) -> None:
    assert limits(TrafficPolicy(connection_pool=POOL), client) == LIMITS


def test_a_stock_envoy_has_no_limit_that_no_rule_gives() -> None:
    assert limits(TrafficPolicy(connection_pool=POOL), Client.ENVOY) == {
        **LIMITS,
        "track_remaining": True,
    }
    one = limits(TrafficPolicy(connection_pool=ConnectionPool(max_requests=3)), Client.ENVOY)
    assert (one["max_requests"], one["max_retries"]) == (3, 4294967295)


def test_grpcs_own_client_is_told_of_requests_in_flight_alone() -> None:
    policy = TrafficPolicy(
        connection_pool=POOL, outlier_detection=OutlierDetection(), retry_budget=RetryBudget()
    )
    made = cluster(policy, Client.GRPC)
    assert made["circuit_breakers"] == {"thresholds": [{"max_requests": 3}]}
    assert not {"outlier_detection", "common_lb_config"} & set(made)
    only = TrafficPolicy(connection_pool=ConnectionPool(max_connections=1))
    assert "circuit_breakers" not in cluster(only, Client.GRPC)


@pytest.mark.parametrize("client", [*OURS, Client.ENVOY])
def test_a_retry_budget_is_sent_as_istio_does(client: Client) -> None:
    found = limits(TrafficPolicy(retry_budget=RetryBudget(12.5, 1)), client)
    assert found["retry_budget"] == {"budget_percent": {"value": 12.5}, "min_retry_concurrency": 1}


@pytest.mark.parametrize("client", [*OURS, Client.ENVOY])
def test_outlier_detection_is_sent_as_istio_does(client: Client) -> None:
    said = OutlierDetection(
        consecutive_5xx=7,
        consecutive_gateway_errors=0,
        split_local_origin=True,
        consecutive_local_origin_failures=2,
        interval_s=300.0,
        base_ejection_time_s=1.5,
        max_ejection_percent=50,
        min_health_percent=30,
    )
    made = cluster(TrafficPolicy(outlier_detection=said), client)
    assert made["outlier_detection"] == {
        "consecutive_5xx": 7,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_success_rate": 0,
        "interval": "300s",
        "base_ejection_time": "1.500s",
        "max_ejection_percent": 50,
    }
    assert made["common_lb_config"] == {"healthy_panic_threshold": {"value": 30.0}}


def test_nobody_panics_where_a_rule_says_no_health_percent() -> None:
    made = cluster(TrafficPolicy(outlier_detection=OutlierDetection()), Client.SIDECAR)
    assert made["outlier_detection"] == {"enforcing_success_rate": 0}
    assert made["common_lb_config"] == {"healthy_panic_threshold": {}}


def test_a_subset_has_the_outlier_detection_and_the_budget_of_its_host_unless_it_has_its_own() -> (
    None
):
    wide = TrafficPolicy(
        outlier_detection=OutlierDetection(consecutive_5xx=1), retry_budget=RetryBudget(1.0)
    )
    v1 = Subset("v1", (("version", "v1"),))
    own = TrafficPolicy(outlier_detection=OutlierDetection(consecutive_5xx=9))
    for subset, expected in ((v1, 1), (dataclasses.replace(v1, policy=own), 9)):
        made = cluster(wide, Client.SIDECAR, subset)
        assert made["outlier_detection"]["consecutive_5xx"] == expected
        assert "retry_budget" in made["circuit_breakers"]["thresholds"][0]
