"""Bookinfo's processes with a real istiod for control plane, which has the VirtualServices and
DestinationRules of the original, as they stand there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import istiod_process
import pytest
from meltemi.local.subnet import Subnet

pytestmark = pytest.mark.peers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRODUCT = "/api/v1/products/1"
REQUESTS = 500
START_S = 30.0

PROCESSES: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("details-v1", "details.py", "4", "8084", {}),
    ("ratings-v1", "ratings.py", "31", "8083", {"RATINGS_VALUE": "1"}),
    ("ratings-v2", "ratings.py", "32", "8083", {"RATINGS_VALUE": "5"}),
    ("reviews-v1", "reviews.py", "21", "8082", {}),
    ("reviews-v2", "reviews.py", "22", "8082", {}),
    ("reviews-v3", "reviews.py", "23", "8082", {"ENABLE_RATINGS": "disable"}),
    ("productpage-v1", "productpage.py", "1", "8081", {}),
)
"""Name, program, last part of its address, port, environment; addresses are those of
`examples/bookinfo-istiod/services.yaml`."""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.N.0.`, where nobody else listens."""
    held = Subnet.take(tmp_path_factory.mktemp("addresses"))
    yield f"{held.prefix}.0."
    held.close()


@pytest.fixture(scope="module")
def shop(
    istiod: None,
    addresses: str,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx.Client]:
    """A client of productpage."""
    directory = tmp_path_factory.mktemp("istio") / "bookinfo"
    directory.mkdir()
    for path in (EXAMPLES / "bookinfo-istiod").glob("*.yaml"):
        # As `kubectl apply` does: in the namespace that is the current one.
        text = path.read_text().replace("metadata:\n", "metadata:\n  namespace: default\n")
        (directory / path.name).write_text(text.replace("127.7.0.", addresses))
    ports = (free_port(), free_port(), free_port())
    with istiod_process.running(directory, ports) as server, contextlib.ExitStack() as stack:
        for name, program, host, port, more in PROCESSES:
            environment = {
                **os.environ,
                "HOST": addresses + host,
                "PORT": port,
                "INSTANCE_IP": addresses + host,
                "POD_NAME": name,
                "POD_NAMESPACE": "default",
                "MELTEMI_XDS_ADDRESS": server.xds,
                "MELTEMI_XDS_LAST_KNOWN": "off",
                "COLOURING": str(EXAMPLES / "bookinfo" / "lanes.yaml"),
                **more,
            }
            stack.enter_context(_process(program, environment))
        url = f"http://{addresses}1:8081"
        client = stack.enter_context(httpx.Client(base_url=url, timeout=10))
        _await_answer(client)
        yield client


@contextlib.contextmanager
def _process(program: str, environment: dict[str, str]) -> Iterator[None]:
    started = subprocess.Popen(
        [sys.executable, program], cwd=EXAMPLES / "bookinfo", env=environment
    )
    try:
        yield
    finally:
        started.terminate()
        assert started.wait(10) == 0, f"{program} did not end well"


def _await_answer(client: httpx.Client) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if client.get(PRODUCT).status_code == 200:
                return
        assert time.monotonic() < deadline, f"no answer within {START_S} s"
        time.sleep(0.05)


def hops(answer: httpx.Response) -> list[str]:
    return answer.headers["x-served-by"].split(",")


def test_without_a_mark_reviews_v1_and_v3_answer_at_80_to_20(shop: httpx.Client) -> None:
    answers = [shop.get(PRODUCT) for _ in range(REQUESTS)]
    ways = Counter(tuple(hops(answer)[2:]) for answer in answers)
    ratings = Counter(answer.json()["Rating"] for answer in answers)
    assert ways.keys() == {("reviews-v1", "ratings-v1"), ("reviews-v3",)}
    assert ratings == {1: ways["reviews-v1", "ratings-v1"], 0: ways["reviews-v3",]}
    # The shares are exact in any row of calls of one client.
    assert abs(ratings[0] - REQUESTS * 0.2) <= 3, ratings


def test_with_uid_100_both_hops_stay_in_the_lane(shop: httpx.Client) -> None:
    """productpage colours, as the gateway of the article would."""
    answers = [shop.get(PRODUCT, headers={"uid": "100"}) for _ in range(200)]
    assert Counter(answer.json()["Rating"] for answer in answers) == {5: 200}
    assert {tuple(hops(answer)[1:]) for answer in answers} == {
        ("details-v1", "reviews-v2", "ratings-v2")
    }


@pytest.mark.parametrize("headers", [{"baggage": "env=dev"}, {"uid": "101"}, {"uid": "1000"}])
def test_others_stay_in_the_baseline(shop: httpx.Client, headers: dict[str, str]) -> None:
    answers = [shop.get(PRODUCT, headers=headers) for _ in range(50)]
    assert {answer.json()["Rating"] for answer in answers} == {0, 1}
