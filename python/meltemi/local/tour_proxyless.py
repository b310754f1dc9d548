"""The tour of `examples/proxyless`: calls by three libraries, routed where they are made.

Each request to the front becomes three calls, one by each library; it answers with the versions
that served them."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from meltemi.local.tour import Tour

NAMESPACE = "shop"
RULES = "rules.yaml"
DEV = {"baggage": "env=dev"}
HOPS = ("details", "reviews", "ratings")


class Front:
    """What a user of the shop would be: one who asks its front."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}/"
        self._client = httpx.Client(timeout=10)

    def served(self, headers: dict[str, str] | None = None) -> dict[str, str]:
        """The version of each hop. Raises httpx.HTTPStatusError where a call failed."""
        response = self._client.get(self.url, headers=headers)
        response.raise_for_status()
        found: dict[str, str] = response.json()
        return found

    def count(self, hop: str, requests: int) -> Counter[str]:
        return Counter(self.served()[hop] for _ in range(requests))

    def close(self) -> None:
        self._client.close()


def rewritten(rules: str, host: str, *shares: tuple[str, int]) -> tuple[str, str]:
    """The rules with the one of `host` sending all its calls to subsets by weight; and that one."""
    import yaml

    documents = list(yaml.safe_load_all(rules))
    (edited,) = (each for each in documents if each["spec"]["hosts"] == [host])
    route = [
        {"destination": {"host": host, "subset": subset}, "weight": weight}
        for subset, weight in shares
    ]
    edited["spec"]["http"] = [{"name": "shares", "route": route}]
    text = yaml.safe_dump_all(documents, sort_keys=False)
    return text, yaml.safe_dump(edited, sort_keys=False)


def _edit(tour: Tour, host: str, *shares: tuple[str, int]) -> None:
    """As an editor saves a file."""
    path = tour.directory / RULES
    text, edited = rewritten(path.read_text(), host, *shares)
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
    tour.say(f"   [cyan]{RULES} is saved with[/cyan]")
    tour.show(edited)


def prepare(example: Path, say: Callable[[str], None]) -> None:
    """Raises ModuleNotFoundError where the package is missing that the example runs."""
    import thriftpy2  # noqa: F401


def run(tour: Tour) -> None:
    """Raises StepFailed at the first step that does not hold."""
    environment = tour.environment("front")
    front = Front(f"{environment['HOST']}:{environment['PORT']}")
    try:
        _no_sidecar(tour, front)
        _by_baggage(tour, front)
        _split(tour, front)
        _why(tour)
        _without_control_plane(tour, front)
    finally:
        front.close()


def _all(version: str) -> dict[str, str]:
    return dict.fromkeys(HOPS, version)


def _no_sidecar(tour: Tour, front: Front) -> None:
    tour.step("Four services that call each other, and no sidecar")
    tour.eventually(lambda: bool(front.served()), "the front answers", 20)
    tour.show(tour.meltemi("status"))
    status = json.loads(tour.meltemi("status", "-o", "json"))
    clients = [node["client"] for node in status["nodes"]]
    tour.check(
        len(clients) >= 2 and set(clients) == {"sdk"},
        f"{len(clients)} processes call others, and ask the control plane themselves",
    )


def _by_baggage(tour: Tour, front: Front) -> None:
    tour.step("A header decides, at every hop: httpx, Thrift, and gRPC behind Thrift")
    tour.say(f"   [cyan]$ curl {front.url}[/cyan]")
    plain = [front.served() for _ in range(20)]
    tour.show(str(plain[0]))
    tour.say(f"   [cyan]$ curl -H 'baggage: env=dev' {front.url}[/cyan]")
    dev = [front.served(DEV) for _ in range(20)]
    tour.show(str(dev[0]))
    tour.check(all(each == _all("v1") for each in plain), "20 requests without it: v1 everywhere")
    tour.check(all(each == _all("v2") for each in dev), "20 requests with it: v2 everywhere")


def _split(tour: Tour, front: Front) -> None:
    tour.step("A rule that is edited takes the next call: 20 % of reviews to v1, 80 % to v2")
    _edit(tour, "reviews", ("v1", 20), ("v2", 80))
    took = tour.eventually(lambda: front.served()["reviews"] == "v2", "calls move to v2", 5)
    tour.check(True, f"in force {took * 1000:.0f} ms after the file was saved")
    found = front.count("reviews", 500)
    within = abs(found["v1"] - 100) <= 5 and sum(found.values()) == 500
    tour.check(within, f"500 requests: {_counts(found)}; within 1 % of 100 and 400, 0 failed")


def _why(tour: Tour) -> None:
    tour.step("Why a call goes where it goes")
    asked = ("--from", f"front.{NAMESPACE}", "--path", "/Emma", "--attr", "baggage=env=dev")
    shown = tour.meltemi("explain", f"details.{NAMESPACE}", *asked)
    tour.show(shown)
    tour.check("takes route dev" in shown, "`explain` names the rule, the route and the endpoint")


def _without_control_plane(tour: Tour, front: Front) -> None:
    tour.step("The control plane is killed; calls go on")
    pid = tour.control_plane_pid()
    assert pid is not None
    tour.say(f"   [cyan]$ kill -KILL {pid}[/cyan]")
    os.kill(pid, signal.SIGKILL)
    found = front.count("details", 200)
    tour.check(found == {"v1": 200}, f"200 requests meanwhile: {_counts(found)}, 0 failed")
    back = tour.eventually(lambda: _is_back(tour, pid), "the control plane is back", 10)
    tour.check(True, f"it is back {back:.1f} s later, as process {tour.control_plane_pid()}")
    _edit(tour, "details", ("v2", 100))
    tour.eventually(lambda: front.served()["details"] == "v2", "a new rule takes effect", 15)
    found = front.count("details", 200)
    tour.check(found == {"v2": 200}, f"a new rule, the same processes: {_counts(found)}, 0 failed")


def _is_back(tour: Tour, gone: int) -> bool:
    return tour.control_plane_pid() not in (None, gone) and bool(tour.environment("front"))


def _counts(found: Counter[Any]) -> str:
    return ", ".join(f"{version} {count}" for version, count in sorted(found.items()))
