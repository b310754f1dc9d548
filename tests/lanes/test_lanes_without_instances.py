"""A lane at a service that has no instance of it: the routes that there are decide."""

from __future__ import annotations

import dataclasses
from typing import Final

from meltemi.lanes import with_lanes
from meltemi.lanes.at_gateways import at_gateway, lanes_of
from meltemi.lanes.compile import Rules
from meltemi.model import (
    Destination,
    Endpoint,
    HttpDestination,
    HttpRoute,
    Lane,
    LaneGroup,
    LaneService,
    MetaRoute,
    MetaRouter,
    Retries,
    Service,
    ServicePort,
    VirtualService,
    WeightedDestination,
)

HOST: Final = "reviews.shop.svc.cluster.local"
BLUE: Final = Lane("blue", (("env", "blue"),))
DEV: Final = Lane("dev", (("env", "dev"),))
GROUP: Final = LaneGroup("shop", "g", (LaneService(HOST),), "env", (BLUE, DEV))
SPLIT: Final = (
    HttpDestination(Destination(HOST, "v1"), 80),
    HttpDestination(Destination(HOST, "v3"), 20),
)
OWN: Final = VirtualService("shop", "own", (HOST,), (HttpRoute("split", (), SPLIT),))


def reviews(*environments: str) -> Service:
    """An instance of the baseline, and one of each environment."""
    labels = [(("app", "reviews"),), *((("env", each),) for each in environments)]
    endpoints = tuple(Endpoint(f"127.0.0.{n}", 9080, each) for n, each in enumerate(labels, 1))
    port = ServicePort(9080, "http", "http", 9080)
    return Service(HOST, "shop", "reviews", (port,), endpoints=((9080, endpoints),))


def names(group: LaneGroup, service: Service, *own: VirtualService) -> list[str]:
    made = with_lanes([group], {HOST: service}, Rules((), own, ()))
    (rule,) = made.virtual_services
    return [route.name for route in rule.routes]


def test_a_lane_without_an_instance_follows_the_routes_that_there_are() -> None:
    assert names(GROUP, reviews("dev"), OWN) == ["lane-dev", "split"]
    assert names(GROUP, reviews(), OWN) == ["split"]
    assert names(GROUP, reviews("dev", "blue"), OWN) == ["lane-blue", "lane-dev", "split"]


def test_a_lane_that_falls_back_to_one_that_is_there_has_a_route() -> None:
    group = dataclasses.replace(GROUP, fallback=("blue",))
    assert names(group, reviews("blue"), OWN) == ["lane-blue", "lane-dev", "split"]


def test_nobody_falls_back_to_a_lane_that_is_off() -> None:
    off = dataclasses.replace(BLUE, enabled=False)
    group = dataclasses.replace(GROUP, lanes=(off, DEV), fallback=("blue",))
    assert names(group, reviews("blue"), OWN) == ["split"]


def test_a_strict_lane_has_a_route_to_nobody() -> None:
    group = dataclasses.replace(GROUP, mode="strict")
    assert names(group, reviews(), OWN) == ["lane-blue", "lane-dev", "split"]


def test_without_routes_of_ones_own_the_lanes_cluster_falls_back() -> None:
    assert names(GROUP, reviews()) == ["lane-blue", "lane-dev", "lane-baseline"]


def test_where_no_instance_is_known_every_lane_has_a_route() -> None:
    nobody = dataclasses.replace(reviews(), endpoints=())
    assert names(GROUP, nobody, OWN) == ["lane-blue", "lane-dev", "split"]


def test_a_sidecar_is_told_the_same() -> None:
    own = MetaRoute("mine", (), (WeightedDestination(Destination(HOST, "v1"), 100),))
    router = MetaRouter("shop", "own", HOST, (own,))
    made = with_lanes([GROUP], {HOST: reviews("dev")}, Rules((), (), (router,)))
    (rule,) = made.meta_routers
    assert dict.fromkeys(route.name for route in rule.routes) == {"lane-dev": None, "mine": None}


def test_time_and_retries_of_the_route_that_takes_every_request_hold_in_a_lane() -> None:
    tried = Retries(attempts=3)
    every = HttpRoute("split", (), SPLIT, timeout_s=2.0, retries=tried)
    made = with_lanes(
        [GROUP],
        {HOST: reviews("dev")},
        Rules((), (dataclasses.replace(OWN, routes=(every,)),), ()),
    )
    lane, _ = made.virtual_services[0].routes
    assert (lane.name, lane.timeout_s, lane.retries) == ("lane-dev", 2.0, tried)


def test_a_gateway_that_chooses_a_subset_does_so_for_a_lane_without_an_instance() -> None:
    lanes = lanes_of([GROUP], {HOST: reviews("dev")})
    split = at_gateway(OWN, lanes)
    assert [route.name for route in split.routes] == ["split.lane-dev", "split"]
    plain = HttpRoute("all", (), (HttpDestination(Destination(HOST), 100),))
    all_of_it = at_gateway(dataclasses.replace(OWN, routes=(plain,)), lanes)
    assert [route.name for route in all_of_it.routes] == ["all.lane-blue", "all.lane-dev", "all"]
