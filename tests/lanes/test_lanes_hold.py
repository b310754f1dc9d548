"""Random groups, instances and requests: the lane of every hop, as the engine decides it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from meltemi.engine import NoEndpoint, Router
from meltemi.lanes import with_lanes
from meltemi.lanes.compile import Rules
from meltemi.model import (
    BASELINE,
    DestinationRule,
    Endpoint,
    Lane,
    LaneGroup,
    LaneService,
    Mesh,
    Service,
    ServicePort,
)
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Node

KEY = "env"
LANES = ("blue", "dev", "red")
PORT = ServicePort(9080, "grpc", "grpc", 9080)
HOSTS = tuple(f"{name}.shop.svc.cluster.local" for name in ("reviews", "ratings"))
NOISE = ("userId=7", "xenv=dev;p=1", "env=nobody", "a=b;env=red")
MODES: tuple[Literal["permissive", "strict"], ...] = ("permissive", "strict")
ANY_MODE = st.sampled_from(MODES)
MAYBE_MODE = st.one_of(st.none(), ANY_MODE)
FALLBACK = st.lists(st.sampled_from(LANES), unique=True, max_size=2).map(tuple)


@dataclass(frozen=True)
class Instance:
    address: str
    lane: str
    healthy: bool


@dataclass(frozen=True)
class Case:
    group: LaneGroup
    instances: dict[str, tuple[Instance, ...]]
    """By host."""
    marks: tuple[str, ...]
    header: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lanes = tuple(
        Lane(
            name,
            ((KEY, name),),
            enabled=draw(st.integers(0, 4)) > 0,
            priority=draw(st.integers(0, 1)),
            mode=draw(MAYBE_MODE),
        )
        for name in draw(st.lists(st.sampled_from(LANES), unique=True, min_size=1).map(sorted))
    )
    services = tuple(
        LaneService(host, draw(MAYBE_MODE), draw(st.one_of(st.none(), FALLBACK))) for host in HOSTS
    )
    group = LaneGroup(
        "shop", "g", services, KEY, lanes,
        baseline=draw(st.sampled_from([(), (("tier", "base"),)])),
        mode=draw(ANY_MODE), fallback=draw(FALLBACK),
    )  # fmt: skip
    instances = {}
    for place, host in enumerate(HOSTS):
        kinds = draw(
            st.lists(
                st.sampled_from((BASELINE, *(lane.name for lane in lanes))), min_size=2, max_size=9
            )
        )
        instances[host] = tuple(
            Instance(f"127.0.{place}.{number + 1}", kind, draw(st.booleans()))
            for number, kind in enumerate(kinds)
        )
    known = st.sampled_from([lane.name for lane in lanes])
    marks = draw(st.lists(st.one_of(known, st.sampled_from(LANES)), unique=True, max_size=2))
    members = draw(st.permutations([f"{KEY}={mark}" for mark in marks] + list(NOISE)))
    return Case(group, instances, tuple(marks), draw(st.sampled_from((",", " , "))).join(members))


def labels(instance: Instance) -> tuple[tuple[str, str], ...]:
    return (("tier", "base"),) if instance.lane == BASELINE else ((KEY, instance.lane),)


def router(case: Case, *written: DestinationRule) -> Router:
    services = {
        host: Service(
            host, "shop", host.partition(".")[0], (PORT,),
            endpoints=(
                (9080, tuple(Endpoint(each.address, 9080, labels(each)) for each in instances)),
            ),
        )
        for host, instances in case.instances.items()
    }  # fmt: skip
    rules = with_lanes([case.group], services, Rules(written, (), ()))
    mesh = Mesh(
        services,
        destination_rules=rules.destination_rules,
        virtual_services=rules.virtual_services,
        meta_routers=rules.meta_routers,
    )
    node = Node.of("sidecar~127.0.9.1~a.shop~shop.svc", metadata={"MELTEMI_CLIENT": "sdk"})
    made = Router(seed=1)
    for kind, found in Translator().resources(mesh, node).items():
        if kind in (messages.LISTENER, messages.ROUTE, messages.CLUSTER, messages.ENDPOINT):
            given = [(each.name, each.body) for each in found.values()]
            assert made.update(kind, "1", given) == []
    give_health(made, case, mesh, node)
    return made


def give_health(made: Router, case: Case, mesh: Mesh, node: Node) -> None:
    """As a health check would: the control plane itself calls everybody healthy."""
    ill = {i.address for some in case.instances.values() for i in some if not i.healthy}
    changed = []
    for each in Translator().resources(mesh, node)[messages.ENDPOINT].values():
        body = messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")()
        body.ParseFromString(each.body)
        for locality in body.endpoints:
            for endpoint in locality.lb_endpoints:
                if endpoint.endpoint.address.socket_address.address in ill:
                    endpoint.health_status = 2  # UNHEALTHY
        changed.append((each.name, messages.serialize(body)))
    assert made.update(messages.ENDPOINT, "2", changed) == []


def answered_in(made: Router, case: Case, host: str) -> str | None:
    """The lane of the instance that a call gets; None for an error."""
    listener = f"{host}:9080"
    try:
        call = made.call(listener, listener, "/s/m", [("baggage", case.header)])
    except NoEndpoint:
        return None
    address = call.address.rpartition(":")[0]
    call.abandoned()
    return next(each.lane for each in case.instances[host] if each.address == address)


def wanted(case: Case, service: LaneService) -> Iterator[str]:
    """The lanes that may answer, in order: what the documents say, and nothing of the code."""
    group = case.group
    entered = [lane for lane in group.lanes if lane.enabled and lane.name in case.marks]
    if entered:
        lane = min(entered, key=lambda each: (-each.priority, each.name))
        yield lane.name
        if (service.mode or lane.mode or group.mode) == "strict":
            return
        chain = group.fallback if service.fallback is None else service.fallback
        on = {each.name for each in group.lanes if each.enabled}
        yield from (name for name in chain if name in on)
    yield BASELINE


def expected(case: Case, service: LaneService) -> set[str | None]:
    """The first lane that has a healthy instance; where nobody is healthy, anybody of them."""
    some = case.instances[service.host]
    allowed = list(wanted(case, service))
    healthy = {each.lane for each in some if each.healthy}
    for lane in allowed:
        if lane in healthy:
            return {lane}
    return {each.lane for each in some if each.lane in allowed} or {None}


@settings(max_examples=150, deadline=None)
@given(cases())
def test_every_hop_is_in_the_first_lane_that_has_a_healthy_instance(case: Case) -> None:
    made = router(case)
    for service in case.group.services:
        found = {answered_in(made, case, service.host) for _ in range(12)}
        assert found <= expected(case, service)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_a_lane_whose_instances_recover_is_entered_again(case: Case) -> None:
    recovered = replace(
        case,
        instances={
            host: tuple(replace(each, healthy=True) for each in some)
            for host, some in case.instances.items()
        },
    )
    made = router(recovered)
    for service in case.group.services:
        first = next(wanted(case, service))
        if any(each.lane == first for each in case.instances[service.host]):
            assert answered_in(made, recovered, service.host) == first


def test_one_healthy_instance_of_a_lane_keeps_all_of_its_requests() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    ill = tuple(Instance(f"127.0.0.{number}", "dev", healthy=False) for number in range(1, 10))
    others = (Instance("127.0.1.1", "dev", True), Instance("127.0.1.2", BASELINE, True))
    case = Case(group, {host: (*ill, *others)}, ("dev",), "env=dev")
    made = router(replace(case, instances={host: case.instances[host], HOSTS[1]: ()}))
    assert {answered_in(made, case, host) for _ in range(100)} == {"dev"}


def test_a_lane_is_left_when_its_instance_cannot_be_reached_and_entered_again() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    some = (Instance("127.0.0.1", "dev", True), Instance("127.0.0.2", BASELINE, True))
    case = Case(group, {host: some}, ("dev",), "env=dev")
    made = router(case)
    listener = f"{host}:9080"
    made.call(listener, listener, "/s/m", [("baggage", "env=dev")]).failed("connect-failure")
    assert {answered_in(made, case, host) for _ in range(20)} == {BASELINE}
    ends = time.monotonic() + 20
    while answered_in(made, case, host) != "dev":
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_where_everybody_was_put_out_everybody_is_asked() -> None:
    host = HOSTS[0]
    group = LaneGroup("shop", "g", (LaneService(host),), KEY, (Lane("dev", ((KEY, "dev"),)),))
    some = (Instance("127.0.0.1", "dev", True), Instance("127.0.0.2", BASELINE, True))
    for mode in MODES:
        asked = {"dev"} if mode == "strict" else {"dev", BASELINE}
        case = Case(replace(group, mode=mode), {host: some}, ("dev",), "env=dev")
        made = router(case)
        listener = f"{host}:9080"
        for _ in range(4):
            call = made.call(listener, listener, "/s/m", [("baggage", "env=dev")])
            call.failed("connect-failure")
        assert {answered_in(made, case, host) for _ in range(100)} == asked
