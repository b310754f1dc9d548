"""The tour of `examples/bookinfo`: lanes from the edge to the last hop.

Each request goes to the gateway, as a user's would. Answers say which instances made them."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import httpx

from meltemi.local.tour import StepFailed, Tour

PORT = 8080
PORTS = 100
"""So many are tried, one after another."""
PRODUCT = "/api/v1/products/1"
DEV = {"uid": "100"}
RATINGS = {
    "reviews-v3": 0,
    "ratings-v1": 1,
    "ratings-v2": 5,
    "ratings-mine": 4,
    "ratings-apache": 3,
}
LANE = ("reviews-v2", "ratings-v2")
FELL_BACK = ("reviews-v2", "ratings-v1")
BASELINE = {("reviews-v1", "ratings-v1"), ("reviews-v3",)}

ADDED = """\
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {{name: ratings-{lane}, labels: {{app: ratings, version: {lane}}}}}
spec:
  command: [python, {program}]
  env: {{RATINGS_VALUE: "{stars}"}}
  ports: [{{name: thrift, port: 8083}}]
  mesh: proxyless
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {{name: {lane}}}
spec:
  group: bookinfo
  labels: {{version: {lane}}}
  entry:
    - {entry}
"""

Way = tuple[str, ...]


class Visitor:
    """Who knows the gateway and nothing else of the mesh."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=10)

    def get(self, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Raises httpx.HTTPStatusError where a hop failed."""
        return self._client.get(PRODUCT, headers=headers).raise_for_status()

    def way(self, headers: Mapping[str, str] | None = None) -> Way:
        """The instances of reviews and ratings that made an answer: `("reviews-v3",)`. Raises
        StepFailed where they are not those that its rating comes from."""
        answer = self.get(headers)
        pods = answer.headers["x-served-by"].split(",")
        way = tuple(pod.rpartition("-")[0] for pod in pods[2:])
        rating = answer.json()["Rating"]
        if rating != RATINGS[way[-1]]:
            raise StepFailed(f"an answer of {way} with a rating of {rating}")
        return way

    def ways(self, requests: int, headers: Mapping[str, str] | None = None) -> Counter[Way]:
        return Counter(self.way(headers) for _ in range(requests))

    def close(self) -> None:
        self._client.close()


def prepare(example: Path, say: Callable[[str], None]) -> None:
    """Raises ModuleNotFoundError where a package is missing that the example runs."""
    for package in ("envoy", "starlette", "thrift", "thriftpy2", "uvicorn"):
        importlib.import_module(package)


def arrange(directory: Path) -> None:
    """Where something else is at port 8080, the gateway of this copy is at the next free one."""
    port = next((port for port in range(PORT, PORT + PORTS) if _is_free(port)), None)
    if port is None:
        raise StepFailed(f"no port of {PORT}-{PORT + PORTS - 1} is free for the gateway")
    mesh = directory / "mesh.yaml"
    mesh.write_text(mesh.read_text().replace(f"hostPort: {PORT}", f"hostPort: {port}"))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def run(tour: Tour) -> None:
    """Raises StepFailed at the first step that does not hold."""
    visitor = Visitor(f"http://127.0.0.1:{_port(tour)}")
    try:
        _baseline(tour, visitor)
        _coloured(tour, visitor)
        _killed(tour, visitor)
        _added(tour, visitor)
        _percentage(tour, visitor)
        _apache(tour, visitor)
    finally:
        visitor.close()


def _port(tour: Tour) -> int:
    for workload in tour.workloads():
        for port in workload["ports"]:
            if port["host_port"]:
                return int(port["host_port"])
    raise StepFailed("no workload of the mesh is reached from outside")


def _baseline(tour: Tour, visitor: Visitor) -> None:
    tour.step("One gateway, a page, three Thrift services, and no sidecar")
    tour.eventually(lambda: bool(visitor.get()), "the gateway answers", 20)
    tour.say(f"   [cyan]$ curl {visitor.url}{PRODUCT}[/cyan]")
    tour.show(visitor.get().text)
    ways = visitor.ways(300)
    # Four standard deviations of a fair draw.
    within = ways.keys() == BASELINE and abs(ways["reviews-v3",] - 60) <= 28
    tour.check(
        within,
        f"300 requests: {_counts(ways)}; 80 to 20, 0 failed, and their rating is 1, or 0 of v3",
    )


def _coloured(tour: Tour, visitor: Visitor) -> None:
    tour.step("The gateway colours: uid 100 gets into lane dev, and stays in it at every hop")
    tour.say(f"   [cyan]$ curl -H 'uid: 100' {visitor.url}{PRODUCT}[/cyan]")
    tour.show(visitor.get(DEV).text)
    ways = visitor.ways(100, DEV)
    tour.check(
        ways == {LANE: 100},
        f"100 requests: {_counts(ways)}; always 5, which only ratings v2 gives",
    )
    tour.say(f"   [cyan]$ curl -H 'baggage: env=dev' {visitor.url}{PRODUCT}[/cyan]")
    spoofed = visitor.ways(50, {"baggage": "env=dev", "ot-baggage-env": "dev"})
    tour.check(
        spoofed.keys() <= BASELINE, f"50 requests with a mark from outside: {_counts(spoofed)}"
    )


def _killed(tour: Tour, visitor: Visitor) -> None:
    tour.step("The lane's instance of ratings is killed: the baseline's answers, until it is back")
    status = json.loads(tour.meltemi("status", "-o", "json"))
    (pid,) = (each["pid"] for each in status["processes"] if each["name"] == "ratings-v2-0.default")
    tour.say(f"   [cyan]$ kill -KILL {pid}[/cyan]")
    os.kill(pid, signal.SIGKILL)
    tour.eventually(lambda: not Path(f"/proc/{pid}").exists(), "it ends", 5)
    meanwhile = Counter[Way]()

    def is_back() -> bool:
        way = visitor.way(DEV)
        if way != LANE:
            meanwhile[way] += 1
        return way == LANE

    took = tour.eventually(is_back, "they return to the lane", 20)
    tour.check(
        meanwhile.keys() == {FELL_BACK}, f"meanwhile: {_counts(meanwhile)}; rating 1, 0 failed"
    )
    ways = visitor.ways(50, DEV)
    tour.check(ways == {LANE: 50}, f"back {took:.1f} s later: {_counts(ways)}; rating 5 again")


def _added(tour: Tour, visitor: Visitor) -> None:
    tour.step("A lane more, while requests run: ratings of a developer's own")
    user = {"uid": "200"}
    _save(tour, "mine", "ratings.py", 4, 'headers: {uid: {exact: "200"}}')
    answers: list[Way] = []

    def is_there() -> bool:
        answers.append(visitor.way(user))
        return answers[-1][-1] == "ratings-mine"

    took = tour.eventually(is_there, "requests get into the new lane", 20)
    tour.check(
        True,
        f"a process and a lane: {took:.1f} s after the save; {len(answers)} requests, 0 failed",
    )
    ways = visitor.ways(50, user)
    tour.check(
        ways.keys() == {("reviews-v1", "ratings-mine"), ("reviews-v3",)},
        f"it has no reviews: those of the baseline, and then its own ratings: {_counts(ways)}",
    )
    others = visitor.ways(50, DEV)
    tour.check(others == {LANE: 50}, f"lane dev, as before: {_counts(others)}")


def _percentage(tour: Tour, visitor: Visitor) -> None:
    tour.step("A share of the users, each of whom stays where they are")
    users = [f"user-{number}" for number in range(40)]
    before: set[str] = set()
    for percent in (20, 50):
        _save(
            tour,
            "mine",
            "ratings.py",
            4,
            f"percentage: {{value: {percent}, by: {{header: uid}}}}",
        )
        wanted = set(_in_share(users, percent))
        newest = min(wanted - before)
        tour.eventually(
            functools.partial(_is_mine, visitor, newest),
            "the share is in force",
            20,
        )
        found = {user for user in users if _is_mine(visitor, user)}
        tour.check(
            found == wanted,
            f"{percent} %: {len(found)} of 40 users are in the lane, by the hash of their uid",
        )
        if before:
            tour.check(before <= found, f"the {len(before)} who were in it are in it still")
        before = found
    once = [_asked(visitor, user, 6) for user in users[:10]]
    tour.check(all(len(each) == 1 for each in once), "nobody is once in it and once not")


def _in_share(users: Iterable[str], percent: int) -> list[str]:
    from meltemi.lanes.share import in_share

    return [user for user in users if in_share(user.encode(), percent)]


def _is_mine(visitor: Visitor, user: str) -> bool:
    return _asked(visitor, user, 2) == {"ratings-mine"}


def _asked(visitor: Visitor, user: str, requests: int) -> set[str]:
    """The ratings that answered a user; reviews v3, who asks none, is not counted."""
    ways = visitor.ways(requests, {"uid": user})
    return {way[1] for way in ways if len(way) == 2}


def _apache(tour: Tour, visitor: Visitor) -> None:
    tour.step("Another library in the chain: ratings by Apache Thrift, which speaks THeader")
    user = {"uid": "300"}
    _save(tour, "apache", "ratings_apache.py", 3, 'headers: {uid: {exact: "300"}}')
    tour.eventually(lambda: "ratings-apache" in visitor.way(user), "it answers", 20)
    ways = visitor.ways(50, user)
    tour.check(
        ways.keys() == {("reviews-v1", "ratings-apache"), ("reviews-v3",)},
        f"50 requests: {_counts(ways)}; its rating is 3",
    )
    log = tour.directory / ".meltemi" / "logs" / "ratings-apache-0.default.log"
    seen = log.read_text().splitlines()[-1]
    tour.check("env=apache" in seen, f"and the mark came to it: {seen}")


def _save(tour: Tour, lane: str, program: str, stars: int, entry: str) -> None:
    """As an editor saves a file."""
    text = ADDED.format(lane=lane, program=program, stars=stars, entry=entry)
    path = tour.directory / f"{lane}.yaml"
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
    tour.say(f"   [cyan]{path.name} is saved with[/cyan]")
    tour.show(text.partition("---\n")[2])


def _counts(found: Mapping[Way, int]) -> str:
    return ", ".join(f"{' '.join(way)}: {count}" for way, count in sorted(found.items()))
