"""Random lane groups, instances and requests, and which lanes may answer each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

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

NODE = Node.of("sidecar~127.0.9.1~a.shop~shop.svc", metadata={"MELTEMI_CLIENT": "sdk"})
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


def mesh_of(case: Case, *written: DestinationRule) -> Mesh:
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
    return Mesh(
        services,
        destination_rules=rules.destination_rules,
        virtual_services=rules.virtual_services,
        meta_routers=rules.meta_routers,
    )


def told(translator: Translator, mesh: Mesh, case: Case) -> dict[str, dict[str, bytes]]:
    """What the client is told, by kind and name, in the order in which it may take it."""
    found = translator.resources(mesh, NODE)
    kinds = (messages.CLUSTER, messages.ENDPOINT, messages.LISTENER, messages.ROUTE)
    made = {kind: {each.name: each.body for each in found[kind].values()} for kind in kinds}
    made[messages.ENDPOINT] = {
        name: _with_health(body, case) for name, body in made[messages.ENDPOINT].items()
    }
    return made


def _with_health(given: bytes, case: Case) -> bytes:
    """As a health check would say: the control plane itself calls everybody healthy."""
    ill = {i.address for some in case.instances.values() for i in some if not i.healthy}
    body = messages.message("envoy.config.endpoint.v3.ClusterLoadAssignment")()
    body.ParseFromString(given)
    for locality in body.endpoints:
        for endpoint in locality.lb_endpoints:
            if endpoint.endpoint.address.socket_address.address in ill:
                endpoint.health_status = 2  # UNHEALTHY
    return messages.serialize(body)


def router(case: Case, *written: DestinationRule) -> Router:
    made = Router(seed=1)
    for kind, bodies in told(Translator(), mesh_of(case, *written), case).items():
        assert made.update(kind, "1", list(bodies.items())) == []
    return made


def answered_in(made: Router, case: Case, host: str) -> str | None:
    """The lane of the instance that a call gets; None for an error."""
    listener = f"{host}:9080"
    try:
        call = made.call(listener, listener, "/s/m", [("baggage", case.header)])
    except NoEndpoint:
        return None
    address = call.address.rpartition(":")[0]
    call.abandoned()
    return next(lane_of(case, each) for each in case.instances[host] if each.address == address)


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


def lane_of(case: Case, instance: Instance) -> str:
    """Where the group says no labels of its baseline, who is in no lane there is belongs to it."""
    known = {lane.name for lane in case.group.lanes}
    return instance.lane if instance.lane in known or case.group.baseline else BASELINE


def expected(case: Case, service: LaneService) -> set[str | None]:
    """The first lane that has a healthy instance; where nobody is healthy, anybody of them."""
    some = case.instances[service.host]
    allowed = list(wanted(case, service))
    healthy = {lane_of(case, each) for each in some if each.healthy}
    for lane in allowed:
        if lane in healthy:
            return {lane}
    return {lane for lane in (lane_of(case, each) for each in some) if lane in allowed} or {None}
