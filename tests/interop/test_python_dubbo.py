"""A Python client of others calls Apache Dubbo's provider through two sidecars."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import dubbo_ssl_peer
import pytest
from apache_dubbo import DUBBO_PORT, LIMITED, Consumer, stats
from dubbo_ssl_peer import PythonClient

pytestmark = pytest.mark.peers

Open = Callable[[str], PythonClient]


@pytest.fixture
def connect(shop: Consumer, tmp_path: Path) -> Iterator[Open]:
    """Starts a client of a service; each has a process and a connection of its own."""
    with contextlib.ExitStack() as clients:

        def start(service: str) -> PythonClient:
            log = tmp_path / "client.log"
            return clients.enter_context(dubbo_ssl_peer.client(*shop.services[service], log))

        yield start


def test_values_of_every_kind_that_it_writes_arrive_and_replies_are_read(connect: Open) -> None:
    client = connect("shop")
    assert client.value("sayHello", "Κική").startswith("Hello Κική, response from shop-")
    order = ["object", "interop.Order", {"number": 7 << 40, "customer": "K"}]
    for sign, text in ((1, "é" * 5000), (-1, "")):
        given = [sign * 70_000, sign << 40, sign * 2.5, True, text, [sign, 2, 3], ["a", "b"]]
        came = client.value("simple", *given, order)
        numbers = f"{sign * 70_000}, {sign << 40}, {sign * 2.5}, true"
        assert came == f"[{numbers}, {text}, [{sign}, 2, 3], [a, b], {7 << 40}, K]"
    assert client.value("nothing") is None
    assert client.value("text", 30_000) == "aé你" * 10_000


def test_an_exception_of_the_provider_is_read_as_one(connect: Open) -> None:
    found = connect("shop").call("fail", "state")
    assert found["error"] == "DubboResponseException"
    assert "java.lang.IllegalStateException: no such state: state" in found["message"]


def test_its_attachments_route(connect: Open) -> None:
    client = connect("ruled")
    for lane, pod in (({"lane": "gray"}, "shop-v2-0"), ({"lane": "red"}, "shop-v1-0"), (None, "")):
        for _ in range(4):
            value = client.value("sayHello", "you", context=lane)
            assert f"response from {pod or 'shop-v1-0'}/" in value


@pytest.mark.parametrize(
    ("service", "method", "reason"),
    [
        ("nobody", "sayHello", "no healthy upstream for 'outbound|20880||nobody.shop.svc."),
        ("ruled", "text", "no route matches in 'ruled.shop.svc.cluster.local_20880'"),
    ],
)
def test_it_reads_the_reason_of_an_answer_of_ours(
    connect: Open, service: str, method: str, reason: str
) -> None:
    found = connect(service).call(method, 3)
    assert found["error"] == "DubboResponseException"
    assert reason in found["message"] and found["s"] < 5


def test_a_limit_lets_exactly_two_of_ten_calls_pass(connect: Open) -> None:
    client = connect("ruled")
    found = [client.call("sayHello", "you", context={"limited": "python"}) for _ in range(10)]
    assert ["value" in answer for answer in found] == [True] * 2 + [False] * 8
    assert all(LIMITED in answer["message"] for answer in found[2:])


def test_clients_whose_ids_are_the_same_get_each_its_own_answers(connect: Open) -> None:
    found: dict[int, list[dict[str, Any]]] = {}
    clients = [connect("shop") for _ in range(3)]

    def ask(which: int) -> None:
        calls = [
            {"method": "later", "arguments": [f"{which}/{n}", (n * 37) % 200]} for n in range(40)
        ]
        found[which] = clients[which].all(*calls)

    threads = [Thread(target=ask, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for which in range(3):
        assert [answer["value"] for answer in found[which]] == [f"{which}/{n}" for n in range(40)]


def test_its_heartbeats_are_answered_and_its_connection_is_kept(
    shop: Consumer, connect: Open
) -> None:
    client = connect("shop")
    listener = f"listener.{shop.services['shop'][0]}_{DUBBO_PORT}.downstream_cx_"
    assert "value" in client.call("sayHello", "you")
    before = stats(shop.mesh, "consumer.shop")
    time.sleep(3)
    after = stats(shop.mesh, "consumer.shop")
    for way in ("rx_bytes_total", "tx_bytes_total"):  # heartbeats and answers of 17 bytes
        assert after[listener + way] - before[listener + way] >= 3 * 17
    assert "value" in client.call("sayHello", "you")
    assert stats(shop.mesh, "consumer.shop")[listener + "total"] == before[listener + "total"]
