"""The EnvoyFilter that colours in Istio's own ingress gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meltemi.analysis.shown import Shown, document
from meltemi.lanes.envoy_filter import http_filters
from meltemi.model import LaneGroup

NAMESPACE: Final = "istio-system"
LABELS: Final = (("istio", "ingressgateway"),)
"""Of Istio's ingress gateway, as its charts install it."""

NAME: Final = "lanes-colouring"

_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_ROUTER: Final = "envoy.filters.http.router"


def envoy_filter(
    groups: Sequence[LaneGroup], namespace: str = NAMESPACE, labels: Mapping[str, str] | None = None
) -> Shown:
    """For the gateways of `namespace` with `labels`. One for all groups: what strips has to stand
    before all that gives a mark."""
    patches = [_patch(each) for each in http_filters(groups)]
    selector = {"labels": dict(LABELS if labels is None else labels)}
    spec = {"workloadSelector": selector, "configPatches": patches}
    made = document("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, NAME, spec)
    return Shown(made)


def _patch(value: dict[str, Any]) -> dict[str, Any]:
    """Each is put right before the router, so that they stand in their order."""
    before = {"name": _MANAGER, "subFilter": {"name": _ROUTER}}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": before}}},
        "patch": {"operation": "INSERT_BEFORE", "value": value},
    }
