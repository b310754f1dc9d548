"""Which node a sidecar is."""

from __future__ import annotations

import pytest
from meltemi.sidecar.node import BadNode, parse_node

FULL = "sidecar~127.1.2.3~server-v1-0.shop~shop.svc.cluster.local"


def test_a_full_id_says_its_address_and_place() -> None:
    node = parse_node(FULL, None)
    assert (node.id, node.address, node.pod, node.namespace, node.workload) == (
        FULL,
        "127.1.2.3",
        "server-v1-0",
        "shop",
        "server-v1",
    )


def test_a_pod_and_namespace_get_the_given_address() -> None:
    assert parse_node("server-v1-0.shop", "127.1.2.3").id == FULL


@pytest.mark.parametrize(
    "text", ["", "pod", "pod.", ".ns", "a~b", "sidecar~~p.n~x", "sidecar~nonsense~p.n~x"]
)
def test_what_is_no_node_is_said(text: str) -> None:
    with pytest.raises(BadNode):
        parse_node(text, "127.1.2.3")


def test_metrics_name_the_workload_with_istios_fallbacks() -> None:
    assert parse_node(FULL, None).metric_labels() == {
        "workload": "server-v1",
        "namespace": "shop",
        "app": "server-v1",
        "version": "latest",
        "cluster": "Kubernetes",
    }
    labelled = parse_node(FULL, None, {"app": "server", "version": "v1"}).metric_labels()
    assert (labelled["app"], labelled["version"]) == ("server", "v1")
