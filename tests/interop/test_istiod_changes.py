"""What a real istiod says anew reaches calls that go on, and its absence none of them."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import versioned_http
from istio_shop import WAYS, Service, asked, replace
from istiod_process import Istiod, running
from meltemi.proxyless import CircuitBreakerError, NoEndpointError, NotReadyError
from meltemi.proxyless.mesh import Mesh
from mesh_fixtures import until

pytestmark = pytest.mark.peers

each_way = pytest.mark.parametrize("way", WAYS)

BOOKS = "http://books:9080"
RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: books, namespace: default}}
spec:
  hosts: [books.default.svc.cluster.local]
  http:
  - route: [{{destination: {{host: books.default.svc.cluster.local, subset: {subset}}}}}]
    timeout: {timeout}
"""
POLICY = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: books-policy, namespace: default}}
spec:
  host: books.default.svc.cluster.local
  trafficPolicy:
{policy}
"""


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> Iterator[dict[str, int]]:
    """Servers of three versions."""
    found = {version: free_port() for version in ("v1", "v2", "v3")}
    with versioned_http.serving(found):
        yield found


@pytest.fixture(scope="module")
def istiod_here(
    istiod: None, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Istiod]:
    directory = tmp_path_factory.mktemp("changes") / "books"
    directory.mkdir()
    with running(directory, (free_port(), free_port(), free_port())) as server:
        yield server


@pytest.fixture
def here(istiod_here: Istiod, ports: dict[str, int]) -> Istiod:
    """It knows versions 1 and 2 of one service, without rules."""
    for path in istiod_here.directory.iterdir():
        path.unlink()
    tell(istiod_here, ports, "v1", "v2")
    if not istiod_here.is_running:
        istiod_here.start()
    wanted = [f"127.0.0.1:{ports[version]}" for version in ("v1", "v2")]
    with asked(istiod_here, "grpc-sotw") as mesh:
        until(lambda: described(mesh) == ("RoundRobin", wanted))
    return istiod_here


def described(mesh: Mesh) -> tuple[str, list[str]]:
    """The policy and the endpoints of the one cluster that is called without rules."""
    with contextlib.suppress(NotReadyError):
        explained = mesh.explain("books:9080", path="/")
        if len(explained["routes"]) == 1:
            (cluster,) = explained["clusters"]
            return cluster["policy"], [each["address"] for each in cluster["endpoints"]]
    return "", []


def tell(istiod: Istiod, ports: dict[str, int], *versions: str) -> None:
    """Makes these versions the service's endpoints."""
    Service("books", "240.1.0.1", {each: ports[each] for each in versions}).write(istiod.directory)


class Caller:
    """Calls the service, one call after another, until it is stopped."""

    def __init__(self, mesh: Mesh) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._mesh = mesh
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._mesh.httpx(BOOKS) as books:
            while not self._ends.is_set():
                try:
                    answer = books.get("/a")
                    answer.raise_for_status()
                    self.answers.append(answer.json()["version"])
                except Exception as exc:
                    self.failures.append(f"{type(exc).__name__}: {exc}")
                time.sleep(0.002)

    def last(self, count: int = 20) -> set[str]:
        """Versions of the last answers, once there are so many."""
        return set(self.answers[-count:]) if len(self.answers) >= count else set()

    @contextlib.contextmanager
    def calling(self) -> Iterator[Caller]:
        self._thread.start()
        try:
            yield self
        finally:
            self._ends.set()
            self._thread.join()
        assert self.failures == []


@each_way
def test_endpoints_come_and_go_under_calls(here: Istiod, ports: dict[str, int], way: str) -> None:
    with asked(here, way) as mesh, Caller(mesh).calling() as caller:
        until(lambda: caller.last() == {"v1", "v2"})
        tell(here, ports, "v1", "v2", "v3")
        until(lambda: caller.last() == {"v1", "v2", "v3"})
        tell(here, ports, "v3")
        until(lambda: caller.last() == {"v3"})


@each_way
def test_a_service_that_comes_later_is_found(here: Istiod, ports: dict[str, int], way: str) -> None:
    """istiod forgets who asked for a name, once it said that there is none."""
    name = f"later-{way}"
    with asked(here, way, ready_timeout_s=0.5) as mesh, mesh.httpx(f"http://{name}:9080") as later:
        with pytest.raises(httpx.TransportError):
            later.get("/a")
        Service(name, f"240.1.0.{10 + WAYS.index(way)}", {"v1": ports["v1"]}).write(here.directory)

        def is_found() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return bool(later.get("/a").json()["version"] == "v1")
            return False

        until(is_found)


@each_way
def test_edited_rules_hold_for_calls_that_go_on(here: Istiod, way: str) -> None:
    rules = here.directory / "rules.yaml"
    with asked(here, way) as mesh, Caller(mesh).calling() as caller:
        for subset in ("v1", "v2", "v1"):
            replace(rules, RULES.format(subset=subset, timeout="5s"))
            until(lambda subset=subset: caller.last() == {subset})  # type: ignore[misc]
        rules.unlink()
        until(lambda: caller.last() == {"v1", "v2"})


@each_way
def test_a_timeout_of_the_rules_ends_a_call(here: Istiod, way: str) -> None:
    replace(here.directory / "rules.yaml", RULES.format(subset="v1", timeout="0.3s"))
    with asked(here, way) as mesh, mesh.httpx(BOOKS) as books:
        until(lambda: mesh.explain("books:9080", path="/")["timeout_s"] == 0.3)
        began = time.monotonic()
        with pytest.raises(httpx.TimeoutException):
            books.get("/slow")
        assert time.monotonic() - began < versioned_http.SLOW_S


@each_way
def test_calls_go_on_while_istiod_is_away_and_take_what_it_says_when_it_is_back(
    here: Istiod, ports: dict[str, int], tmp_path: Path, way: str
) -> None:
    replace(here.directory / "rules.yaml", RULES.format(subset="v1", timeout="5s"))
    kept = str(tmp_path)
    with asked(here, way, last_known=kept) as mesh, Caller(mesh).calling() as caller:
        until(lambda: caller.last() == {"v1"})
        here.stop(at_once=True)
        until(lambda: not mesh.status()["connected"])
        made = len(caller.answers)
        until(lambda: len(caller.answers) > made + 50)
        assert caller.last(50) == {"v1"}
        replace(here.directory / "rules.yaml", RULES.format(subset="v2", timeout="5s"))
        here.start()
        until(lambda: caller.last() == {"v2"}, 30)
    here.stop()
    with asked(here, way, last_known=kept) as mesh, mesh.httpx(BOOKS) as books:
        assert books.get("/a").json()["version"] == "v2", "of the file"


def with_policy(istiod: Istiod, text: str) -> None:
    """A traffic policy of the service, without subsets."""
    replace(istiod.directory / "books.yaml", only_entry(istiod))
    replace(istiod.directory / "policy.yaml", POLICY.format(policy=text))


def only_entry(istiod: Istiod) -> str:
    return (istiod.directory / "books.yaml").read_text().partition("\n---\n")[0] + "\n"


def test_a_hash_of_a_header_chooses_the_same_endpoint_whichever_way_is_asked(
    here: Istiod, ports: dict[str, int]
) -> None:
    tell(here, ports, "v1", "v2", "v3")
    with_policy(here, "    loadBalancer: {consistentHash: {httpHeaderName: x-user}}")
    with ExitStack() as stack:
        meshes = {way: stack.enter_context(asked(here, way)) for way in WAYS}

        def hashed(mesh: Mesh, user: str) -> Any:
            return mesh.explain("books:9080", path="/", headers={"x-user": user})

        def in_force(mesh: Mesh) -> bool:
            """The cluster says that it hashes, the route what: one may come before the other."""
            explained = hashed(mesh, "any")
            return "RingHash" in str(explained) and explained["hash"] is not None

        def chosen(mesh: Mesh, user: str) -> str:
            explained = hashed(mesh, user)
            assert explained["hash"] is not None
            return str(explained["endpoint"])

        for mesh in meshes.values():
            until(functools.partial(in_force, mesh))
        users = [f"user-{number}" for number in range(50)]
        tables = {way: [chosen(mesh, user) for user in users] for way, mesh in meshes.items()}
    assert len(set(tables[WAYS[0]])) == 3
    assert all(table == tables[WAYS[0]] for table in tables.values()), tables


as_sidecar = pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("sidecar")])


@as_sidecar
def test_an_endpoint_that_wants_tls_is_never_called_in_plain_text(
    here: Istiod, ports: dict[str, int], way: str
) -> None:
    name = f"guarded-{way}"
    path = here.directory / f"{name}.yaml"
    address = f"240.1.0.{20 + WAYS.index(way)}"
    Service(name, address, {each: ports[each] for each in ("v1", "v2")}).write(here.directory)

    def mark(version: str) -> None:
        labels = f"labels: {{security.istio.io/tlsMode: istio, version: {version}}}"
        replace(path, path.read_text().replace(f"labels: {{version: {version}}}", labels, 1))

    with asked(here, way) as mesh:
        target = mesh.target(f"{name}:9080")

        def reached() -> set[str]:
            found = set()
            for _ in range(20):
                try:
                    call = mesh.call(target, "/")
                except NoEndpointError as exc:
                    return {"tls"} if "envoy.transport_sockets.tls" in str(exc) else set()
                except NotReadyError:
                    return set()
                found.add(call.address)
                call.succeeded()
            return found

        mark("v1")
        until(lambda: reached() == {f"127.0.0.1:{ports['v2']}"})
        mark("v2")
        until(lambda: reached() == {"tls"})


@as_sidecar
def test_an_endpoint_that_fails_is_ejected(here: Istiod, way: str) -> None:
    """istiod tells gRPC's clients of no outlier detection."""
    outliers = "consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 60s"
    with_policy(here, f"    outlierDetection: {{{outliers}, maxEjectionPercent: 100}}")
    with asked(here, way) as mesh, mesh.httpx(BOOKS) as books:
        unhealthy = {"x-unhealthy": "v1"}

        def is_ejected() -> bool:
            for _ in range(7):
                books.get("/a", headers=unhealthy)
            (cluster,) = mesh.explain("books:9080", path="/")["clusters"]
            return bool(sum(each["ejected"] for each in cluster["endpoints"]) == 1)

        until(is_ejected)
        assert {books.get("/a", headers=unhealthy).status_code for _ in range(10)} == {200}


@each_way
def test_limits_of_a_connection_pool_are_kept(here: Istiod, way: str) -> None:
    with_policy(here, "    connectionPool: {http: {http2MaxRequests: 2}}")
    with asked(here, way) as mesh:
        target = mesh.target("books:9080")

        def third_is_refused() -> bool:
            calls = [mesh.call(target, "/") for _ in range(2)]
            try:
                calls.append(mesh.call(target, "/"))
            except CircuitBreakerError:
                return True
            finally:
                for call in calls:
                    call.succeeded()
            return False

        until(third_is_refused)
