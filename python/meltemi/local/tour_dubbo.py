"""The tour of `examples/dubbo`: a consumer's one connection, whose calls are routed one by one.

The consumer is asked by HTTP; how it and the providers speak Dubbo is theirs (Apache Dubbo, or the
example's own pair in Python)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from meltemi.local.tour import StepFailed, Tour

HOST = "org.apache.dubbo.samples.basic.api.demoservice"
INTERFACE = "org.apache.dubbo.samples.basic.api.DemoService"
CONSUMER = "dubbo-sample-consumer.meta-dubbo"
START_S = 90.0
"""Three Java virtual machines start together, on a busy machine."""

MOVED_S = 5.0
REFUSED = "refused"


class Consumer:
    """Asks the consumer to call."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=f"http://{address}", timeout=60, trust_env=False)

    def about(self) -> str:
        """What it is and whom it calls, in its own words."""
        return self._get("/").strip()

    def answers(self, calls: int, page: str = "hello") -> list[str]:
        """Who answered each call, one after the other: `v1`, `v2`, or `refused`."""
        return [_version(line) for line in self.lines(calls, page)]

    def count(self, calls: int, page: str = "hello") -> Counter[str]:
        return Counter(self.answers(calls, page))

    def lines(self, calls: int, page: str = "hello") -> list[str]:
        """What came back of each call. `page`: `hello` for sayHello, `bye` for sayBye."""
        return self._get(f"/{page}?count={calls}").splitlines()

    def attachments(self) -> dict[str, str]:
        """Those that a provider saw of a call."""
        pairs = (line.partition(": ") for line in self._get("/attachments").splitlines())
        return {name: value for name, _, value in pairs}

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str) -> str:
        return self._http.get(path).raise_for_status().text


def prepare(example: Path, say: Callable[[str], None]) -> None:
    """Builds the Java programs where that is possible, and says which pair runs and why.

    Raises StepFailed where a pair was asked for that cannot run."""
    say("[cyan]$ python run.py build[/cyan]")
    command = [sys.executable, str(example / "run.py"), "build"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as building:
        assert building.stdout is not None
        for line in building.stdout:
            say(f"   {line.rstrip().replace('[', chr(92) + '[')}")
    if building.returncode != 0:
        raise StepFailed(f"`python run.py build` ended with {building.returncode}")


def run(tour: Tour) -> None:
    """Raises StepFailed at the first step that does not hold."""
    environment = tour.environment("dubbo-sample-consumer")
    consumer = Consumer(f"{environment['INSTANCE_IP']}:{environment['PORT']}")
    try:
        _ready(tour, consumer)
        _in_turn(tour, consumer)
        _by_method(tour, consumer)
        _split(tour, consumer)
        _mutation(tour, consumer)
        _limit(tour, consumer)
        _one_connection(tour)
    finally:
        consumer.close()


def rule(*routes: dict[str, Any], **spec: Any) -> str:
    """A MetaRouter of the interface's host."""
    import yaml

    return yaml.safe_dump(
        {
            "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
            "kind": "MetaRouter",
            "metadata": {"name": "demo", "namespace": "meta-dubbo"},
            "spec": {"hosts": [HOST], **spec, "routes": list(routes)},
        },
        sort_keys=False,
    )


def route(name: str, shares: Mapping[str, int], method: str = "", **more: Any) -> dict[str, Any]:
    """`shares`: weights of subsets, "" for the whole service. `method`: "" for every method."""
    destinations = [
        {"destination": {"host": HOST, **({"subset": subset} if subset else {})}, "weight": weight}
        for subset, weight in shares.items()
    ]
    match = {"match": {"attributes": {"method": {"exact": method}}}} if method else {}
    return {"name": name, **match, "route": destinations, **more}


REST = route("rest", {"": 100})


def _ready(tour: Tour, consumer: Consumer) -> None:
    tour.step("Who calls whom")
    tour.eventually(lambda: bool(consumer.about()), "the consumer answers", START_S)
    tour.eventually(
        lambda: consumer.count(4).keys() == {"v1", "v2"}, "both providers answer", START_S
    )
    tour.show(consumer.about())
    tour.check(True, "the consumer is answered by both providers")


def _in_turn(tour: Tour, consumer: Consumer) -> None:
    tour.step("One connection of the consumer, each call balanced by itself")
    answers = consumer.answers(20)
    tour.show(" ".join(answers))
    in_turn = all(a != b for a, b in pairwise(answers)) and set(answers) == {"v1", "v2"}
    tour.check(in_turn, "20 calls: v1 and v2 answer in turn")


def _by_method(tour: Tour, consumer: Consumer) -> None:
    tour.step("A rule by method: sayHello goes where service_group is batchjob, live")
    given = rule(route("batchjob", {"batchjob": 100}, "sayHello"), REST)
    tour.show(given)
    tour.show(tour.meltemi("apply", "-f", "-", given=given))
    tour.eventually(lambda: consumer.count(2) == {"v2": 2}, "sayHello moves to v2", MOVED_S)
    found = consumer.count(200)
    tour.check(found == {"v2": 200}, f"200 calls of sayHello: {_counts(found)}, 0 failed")
    found = consumer.count(20, "bye")
    tour.check(found == {"v1": 10, "v2": 10}, f"20 calls of sayBye: {_counts(found)}")
    why = tour.meltemi("explain", INTERFACE, "--attr", "method=sayHello")
    tour.show(why)
    tour.check("takes route batchjob" in why, "`explain` takes the interface, and names the route")


def _split(tour: Tour, consumer: Consumer) -> None:
    tour.step("A split: 20 % to v1, 80 % to v2")
    given = rule(route("split", {"v1": 20, "v2": 80}, "sayHello"), REST)
    tour.show(tour.meltemi("apply", "-f", "-", given=given))
    tour.eventually(lambda: consumer.count(10)["v1"] > 0, "calls move to v1", MOVED_S)
    found = consumer.count(1000)
    within = abs(found["v1"] - 200) <= 10 and found["v1"] + found["v2"] == 1000
    tour.check(within, f"1,000 calls: {_counts(found)}; within 1 % of 200 and 800")


def _mutation(tour: Tour, consumer: Consumer) -> None:
    tour.step("A mutation: the provider sees an attachment that nobody sent")
    before = consumer.attachments()
    tour.check("foo" not in before, f"a call came with the attachments {_names(before)}")
    given = rule(route("marked", {"v1": 100}, requestMutation=[{"key": "foo", "value": "bar"}]))
    tour.show(given)
    tour.show(tour.meltemi("apply", "-f", "-", given=given))
    tour.eventually(lambda: "foo" in consumer.attachments(), "the attachment arrives", MOVED_S)
    after = consumer.attachments()
    same = {name for name in before if name in after}
    tour.check(
        after["foo"] == "bar" and same == set(before),
        f"now with {_names(after)}: foo is {after['foo']!r}, the others are still there",
    )
    log = tour.meltemi("logs", "dubbo-sample-provider-v1.meta-dubbo", "--tail", "4")
    tour.show(log)
    tour.check("attachment foo: bar" in log, "so says the provider's own log")


def _limit(tour: Tour, consumer: Consumer) -> None:
    tour.step("A local limit: sayHello twice a minute")
    twice = {
        "match": {"attributes": {"method": {"exact": "sayHello"}}},
        "tokenBucket": {"maxTokens": 2, "tokensPerFill": 2, "fillInterval": "60s"},
    }
    given = rule(route("v1", {"v1": 100}), localRateLimit={"conditions": [twice]})
    tour.show(given)
    tour.show(tour.meltemi("apply", "-f", "-", given=given))
    answers = consumer.lines(10)
    tour.show("\n".join(answers[:4]))
    found = Counter(map(_version, answers))
    tour.check(
        found == {"v1": 2, REFUSED: 8}, f"10 calls of sayHello: {_counts(found)}; exactly 2 pass"
    )
    found = consumer.count(10, "bye")
    tour.check(found == {"v1": 10}, f"10 calls of sayBye: {_counts(found)}; no limit on them")


def _one_connection(tour: Tour) -> None:
    tour.step("All of it over the connection that was there")
    listener = f"listener.{tour.environment('dubbo-sample-consumer')[_variable()]}_20880."
    counter = f"{listener}downstream_cx_total"
    shown = tour.meltemi("proxy", "stats", CONSUMER, "--filter", counter)
    tour.show(shown)
    tour.check(shown.strip() == f"{counter}: 1", "the consumer has made one connection, no more")


def _variable() -> str:
    return HOST.upper().replace(".", "_") + "_SERVICE_HOST"


def _version(line: str) -> str:
    """`v1` of `Hello Meltemi, response from dubbo-sample-provider-v1-0/127.…`."""
    _, found, pod = line.partition(", response from ")
    return pod.split("/")[0].rsplit("-", 2)[1] if found else REFUSED


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{version} {count}" for version, count in sorted(found.items()))


def _names(attachments: Mapping[str, str]) -> str:
    return ", ".join(sorted(attachments)) or "none"
