"""Lanes and their instances come and go under load: no request fails, none is in a wrong lane.

An instance that is killed takes along what it had, and no more."""

from __future__ import annotations

import bisect
import contextlib
import functools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import lane_calls
import lane_mesh
import pytest
import thriftpy2_hello
from meltemi import proxyless
from meltemi.proxyless.context import incoming
from mesh import Mesh, eventually, running
from opentelemetry.context import attach

pytestmark = [pytest.mark.load, pytest.mark.slow]

LOAD_S = 25.0
CLIENTS = 4
SWAP_NS = 150_000_000
"""From the nodes' acknowledgement until each has begun to go by it; the client without a sidecar
takes changes of endpoints ten times a second."""
LANES = ("dev", "red")
MARKS = ("", *LANES)
BASE = {"track": "base"}
Call = Callable[[str], str]
"""With a baggage: the lane that answered."""
Connection = contextlib.AbstractContextManager[Call]


@dataclass(frozen=True)
class Answer:
    client: str
    mark: str
    start_ns: int
    end_ns: int
    lane: str
    """Or `!` and the error."""


@dataclass
class Load:
    """Clients that call one after the other, each with every mark in turn, until `stop`."""

    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, client: str, connect: Callable[[], Connection]) -> None:
        thread = threading.Thread(target=self._run, args=(client, connect))
        thread.start()
        self._threads.append(thread)

    def _run(self, client: str, connect: Callable[[], Connection]) -> None:
        with contextlib.ExitStack() as stack:
            call: Call | None = None
            while not self._stop.is_set():
                for mark in MARKS:
                    start_ns = time.monotonic_ns()
                    try:
                        call = call or stack.enter_context(connect())
                        lane = call(f"user=7,env={mark};p=1" if mark else "user=7")
                    except Exception as error:
                        lane, call = f"!{type(error).__name__}: {error}", None
                        stack.close()
                    end_ns = time.monotonic_ns()
                    self.answers.append(Answer(client, mark, start_ns, end_ns, lane))
                time.sleep(0.002)

    def last(self, mark: str) -> dict[str, str]:
        """By client, the last answer."""
        return {each.client: each.lane for each in list(self.answers) if each.mark == mark}

    def stop(self) -> list[Answer]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.answers


@dataclass(frozen=True)
class State:
    lanes: frozenset[str]
    there: frozenset[str]
    """The lanes that have an instance."""

    def answer(self, mark: str) -> str:
        return mark if mark in self.lanes and mark in self.there else "base"


class History:
    """What was in force when."""

    def __init__(self, state: State) -> None:
        self.states, self._began_ns, self._known_ns = [state], [0], [0]

    def changes(self, state: State) -> None:
        self.states.append(state)
        self._began_ns.append(time.monotonic_ns())

    def is_known(self) -> None:
        self._known_ns.append(time.monotonic_ns() + SWAP_NS)

    def allowed(self, answer: Answer) -> set[str]:
        """By any state in force during the request."""
        last = bisect.bisect_right(self._began_ns, answer.end_ns)
        first = max(bisect.bisect_right(self._known_ns, answer.start_ns) - 1, 0)
        return {state.answer(answer.mark) for state in self.states[first:last]}


def entry(lane: str, address: str) -> dict[str, Any]:
    """Tells the mesh of an instance that serves."""
    ports = {port["name"]: port["port"] for port in lane_mesh.PORTS}
    labels = {"app": "entry", **(BASE if lane.startswith("base") else {"env": lane})}
    spec = {"address": address, "ports": ports, "labels": labels}
    return lane_mesh.document("networking.istio.io/v1", "WorkloadEntry", lane, spec)


def service_entry(name: str) -> dict[str, Any]:
    spec = {
        "hosts": [f"{name}.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [
            {"name": p["name"], "number": p["port"], "protocol": "TCP"} for p in lane_mesh.PORTS
        ],
        "workloadSelector": {"labels": {"app": "entry"}},
    }
    return lane_mesh.document("networking.istio.io/v1", "ServiceEntry", name, spec)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("lanes") / "shop"
    lane_mesh.write(
        directory,
        service_entry("a"),
        service_entry("shared"),
        lane_mesh.shared("shared.mesh"),
        lane_mesh.workload("a", "base", replicas=2),
        *(lane_mesh.workload("a", lane) for lane in LANES),
        lane_mesh.caller(),
        lane_mesh.group("a.mesh", "shared.mesh", "b", baseline={"labels": BASE}),
        lane_mesh.service("b"),
        replicas_of_b(1),
    )
    with running(directory) as mesh:
        yield mesh


def replicas_of_b(number: int) -> dict[str, Any]:
    made = lane_mesh.workload("b", "base", replicas=number)
    made["metadata"]["labels"].update(BASE)
    return made


def where(mesh: Mesh, lane: str, ordinal: int = 0) -> str:
    """The address of an instance."""
    instances = mesh.workloads()[f"a-{lane}.{lane_mesh.NAMESPACE}"]["instances"]
    return str(instances[ordinal]["address"])


class Changes:
    """Applies and deletes as the commands do, and returns when every node has acknowledged it."""

    def __init__(self, mesh: Mesh) -> None:
        path = mesh.directory / ".meltemi" / "meltemi.sock"
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://meltemi", timeout=30
        )

    def apply(self, document: dict[str, Any]) -> None:
        answer = self._client.post("/v1/apply", content=json.dumps(document))
        assert answer.status_code == 200, answer.text

    def delete(self, kind: str, name: str) -> None:
        answer = self._client.delete(f"/v1/objects/{kind}/{lane_mesh.NAMESPACE}/{name}")
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def changes(shop: Mesh) -> Iterator[Changes]:
    made = Changes(shop)
    for ordinal in (0, 1):
        made.apply(entry(f"base-{ordinal}", where(shop, "base", ordinal)))
    for lane in LANES:
        made.apply(lane_mesh.lane(lane))
        made.apply(entry(lane, where(shop, lane)))
    yield made
    made.close()


@contextlib.contextmanager
def loaded(mesh: Mesh, clients: dict[str, tuple[str, str]], target: str) -> Iterator[Load]:
    """Two clients of each kind (wire, and its name in the environment), and the SDK's of a target;
    once the lanes that have an instance were reached."""
    made = Load()

    def of(wire: str, address: str) -> Callable[[], Connection]:
        @contextlib.contextmanager
        def connected() -> Iterator[Call]:
            with lane_calls.Caller(wire, address) as caller:
                yield functools.partial(caller.call, wire)

        return connected

    xds = mesh.meltemi("status", "-o", "json").json()["xds"]
    with (
        proxyless.connect(
            xds, pod="sdk", namespace=lane_mesh.NAMESPACE, instance_ip="127.0.0.9", last_known="off"
        ) as sdk,
        contextlib.closing(
            sdk.thrift(target, thriftpy2_hello.hello.HelloService, wire="ttheader")
        ) as client,
    ):

        def called(baggage: str) -> str:
            attach(incoming({"baggage": baggage}))
            return str(client.sayHello("ttheader"))

        try:
            for _ in range(2):
                for name, (wire, service) in clients.items():
                    made.start(name, of(wire, lane_mesh.address(mesh, service)))
                made.start("sdk", lambda: contextlib.nullcontext(called))
            yield made
        finally:
            made.stop()


@pytest.fixture
def load(shop: Mesh, changes: Changes) -> Iterator[Load]:
    clients = {
        "pooled": ("ttheader", "a-mesh"),
        "shared": ("ttheader", "shared-mesh"),
        "dubbo": ("dubbo", "a-mesh"),
    }
    with loaded(shop, clients, "a.mesh:9090") as made:
        eventually(lambda: all(is_in(made, mark) for mark in MARKS), 40)
        made.answers.clear()
        yield made


def is_in(load: Load, mark: str, lane: str | None = None, clients: int = CLIENTS) -> bool:
    """Whether every client's last request with the mark was answered in the lane."""
    last = load.last(mark)
    return len(last) == clients and set(last.values()) == {lane or mark or "base"}


@pytest.mark.timeout(180)
def test_lanes_and_their_instances_come_and_go_and_no_request_fails(
    shop: Mesh, load: Load, changes: Changes
) -> None:
    chance = random.Random(7)
    state = State(frozenset(LANES), frozenset(LANES))
    history = History(state)
    addresses = {lane: where(shop, lane) for lane in LANES}
    end = time.monotonic() + LOAD_S
    made: Counter[str] = Counter()
    while time.monotonic() < end:
        lane = chance.choice(LANES)
        what = chance.choice(("lane", "instance"))
        if what == "lane":
            state = State(state.lanes ^ {lane}, state.there)
        else:
            state = State(state.lanes, state.there ^ {lane})
        history.changes(state)
        if what == "lane" and lane in state.lanes:
            changes.apply(lane_mesh.lane(lane))
        elif what == "lane":
            changes.delete("Lane", lane)
        elif lane in state.there:
            changes.apply(entry(lane, addresses[lane]))
        else:
            changes.delete("WorkloadEntry", lane)
        history.is_known()
        made[what] += 1
        time.sleep(chance.random() * 0.6)

    answers = load.stop()
    failed = [each for each in answers if each.lane.startswith("!")]
    assert failed == [], (len(failed), failed[:3])
    judged = [(each, history.allowed(each)) for each in answers]
    assert [each for each in judged if each[0].lane not in each[1]] == []
    counted = Counter(each.client for each in answers)
    assert len(counted) == CLIENTS and min(counted.values()) > 300, counted
    assert min(made.values()) > 10, made
    sure = [each for each in judged if len(each[1]) == 1]
    assert len(sure) > len(judged) / 2
    assert {(each.mark, each.lane) for each, _ in sure} == {
        ("", "base"),
        *((lane, answer) for lane in LANES for answer in (lane, "base")),
    }


@pytest.mark.timeout(180)
def test_a_killed_instance_takes_along_what_it_had_and_no_more(shop: Mesh, load: Load) -> None:
    """What its process had in hand cannot be saved, and until it listens again its own sidecar says
    so. Nobody else's request fails, none is in a wrong lane, and the lane is returned to."""
    time.sleep(1)
    killed_ns = time.monotonic_ns()
    for name in ("a-dev-0.shop", "a-dev-0.shop sidecar"):
        os.kill(shop.processes()[name]["pid"], signal.SIGKILL)
    eventually(lambda: is_in(load, "dev", "base"), 20)
    eventually(lambda: is_in(load, "dev"), 60)
    back_ns = time.monotonic_ns()
    time.sleep(1)
    for each in load.stop():
        wanted = each.mark or "base"
        if each.mark != "dev" or each.end_ns < killed_ns or each.start_ns > back_ns:
            assert each.lane == wanted, each
        else:
            assert each.lane in ("dev", "base") or each.lane.startswith("!"), each


@pytest.mark.timeout(180)
def test_replicas_are_started_and_stopped_and_no_request_fails(
    shop: Mesh, changes: Changes
) -> None:
    """Nobody is sent to one before it listens, nor once it is about to stop."""
    clients = {"pooled": ("ttheader", "b"), "dubbo": ("dubbo", "b")}
    with loaded(shop, clients, "b:9090") as load:
        eventually(lambda: is_in(load, "", "base", CLIENTS - 1), 20)
        load.answers.clear()
        for _ in range(3):
            changes.apply(lane_mesh.workload("b", "dev"))
            eventually(lambda: is_in(load, "dev", "dev", CLIENTS - 1), 30)
            changes.delete("Workload", "b-dev")
            eventually(lambda: is_in(load, "dev", "base", CLIENTS - 1), 30)
        answers = load.stop()
    failed = [each for each in answers if each.lane.startswith("!")]
    assert failed == [], (len(failed), failed[:3])
    assert {each.lane for each in answers if each.mark != "dev"} == {"base"}
    assert {each.lane for each in answers if each.mark == "dev"} == {"base", "dev"}
