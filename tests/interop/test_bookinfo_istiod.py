"""Bookinfo's processes with a real istiod for control plane, which has the rules of the original,
as they stand there. Requests are coloured by a stock Envoy that istiod makes an ingress gateway of,
with the EnvoyFilter that `meltemi lanes show` prints, or by a productpage that is the edge."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import istiod_process
import pytest
import stock_envoy
import yaml
from meltemi.local.subnet import Subnet

pytestmark = pytest.mark.peers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRODUCT = "/api/v1/products/1"
REQUESTS = 500
START_S = 30.0
WITHOUT_ISTIOS_OWN_FILTERS = {
    # Of Istio's build of Envoy; a stock one has them not.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
}
GATEWAY = {
    "id": "router~127.0.0.1~ingress.istio-system~istio-system.svc.cluster.local",
    "cluster": "istio-ingressgateway",
    "metadata": {
        "CLUSTER_ID": "Kubernetes",
        "LABELS": {"istio": "ingressgateway"},
        "NAMESPACE": "istio-system",
    },
}

PROCESSES: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("details-v1", "details.py", "4", "8084", {}),
    ("ratings-v1", "ratings.py", "31", "8083", {"RATINGS_VALUE": "1"}),
    ("ratings-v2", "ratings.py", "32", "8083", {"RATINGS_VALUE": "5"}),
    ("reviews-v1", "reviews.py", "21", "8082", {}),
    ("reviews-v2", "reviews.py", "22", "8082", {}),
    ("reviews-v3", "reviews.py", "23", "8082", {"ENABLE_RATINGS": "disable"}),
    ("productpage-v1", "productpage.py", "1", "8081", {}),
    (
        "productpage-edge",
        "productpage.py",
        "2",
        "8081",
        {"COLOURING": str(EXAMPLES / "bookinfo" / "lanes.yaml")},
    ),
)
"""Name, program, last part of its address, port, environment; addresses are those of
`examples/bookinfo-istiod/services.yaml`, which does not know the last one."""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.N.0.`, where nobody else listens."""
    held = Subnet.take(tmp_path_factory.mktemp("addresses"))
    yield f"{held.prefix}.0."
    held.close()


@pytest.fixture(scope="module")
def edges(
    istiod: None,
    addresses: str,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, str]]:
    """Where requests come in, by who colours them."""
    folder = tmp_path_factory.mktemp("istio")
    directory = folder / "bookinfo"
    directory.mkdir()
    port = free_port()
    _write_rules(directory, addresses, port)
    ports = (free_port(), free_port(), free_port())
    with (
        istiod_process.running(directory, ports, WITHOUT_ISTIOS_OWN_FILTERS) as server,
        _gateway(ports[0], free_port(), folder / "envoy"),
        ExitStack() as processes,
    ):
        for name, program, host, listens, more in PROCESSES:
            environment = {
                **os.environ,
                "HOST": addresses + host,
                "PORT": listens,
                "INSTANCE_IP": addresses + host,
                "POD_NAME": name,
                "POD_NAMESPACE": "default",
                "MELTEMI_XDS_ADDRESS": server.xds,
                "MELTEMI_XDS_LAST_KNOWN": "off",
                **more,
            }
            processes.enter_context(_process(program, environment))
        yield {
            "gateway": f"http://127.0.0.1:{port}",
            "productpage": f"http://{addresses}2:8081",
        }


@pytest.fixture(scope="module", params=["gateway", "productpage"])
def shop(request: pytest.FixtureRequest, edges: Mapping[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edges[request.param], timeout=10) as client:
        _await_answer(client)
        yield client


def _write_rules(directory: Path, addresses: str, port: int) -> None:
    for path in (EXAMPLES / "bookinfo-istiod").glob("*.yaml"):
        # As `kubectl apply` does: in the namespace that is the current one.
        text = path.read_text().replace("metadata:\n", "metadata:\n  namespace: default\n")
        text = text.replace("127.7.0.", addresses).replace("number: 80\n", f"number: {port}\n")
        (directory / path.name).write_text(text)
    shown = subprocess.run(
        [sys.executable, "-m", "meltemi", "lanes", "show", str(EXAMPLES / "bookinfo")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    filters = [each for each in yaml.safe_load_all(shown) if each["kind"] == "EnvoyFilter"]
    assert len(filters) == 1
    (directory / "colouring.yaml").write_text(yaml.safe_dump(filters[0], sort_keys=False))


@contextlib.contextmanager
def _gateway(xds_port: int, admin_port: int, folder: Path) -> Iterator[None]:
    with asyncio.Runner() as runner:
        envoy = stock_envoy.asking(GATEWAY, xds_port, None, admin_port, folder)
        runner.run(_enter(envoy))
        try:
            yield
        finally:
            runner.run(_leave(envoy))


async def _enter(context: contextlib.AbstractAsyncContextManager[object]) -> None:
    await context.__aenter__()


async def _leave(context: contextlib.AbstractAsyncContextManager[object]) -> None:
    await context.__aexit__(None, None, None)


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
    answers = [shop.get(PRODUCT, headers={"uid": "100"}) for _ in range(200)]
    assert Counter(answer.json()["Rating"] for answer in answers) == {5: 200}
    assert {tuple(hops(answer)[1:]) for answer in answers} == {
        ("details-v1", "reviews-v2", "ratings-v2")
    }


@pytest.mark.parametrize(
    "headers", [{"baggage": "env=dev"}, {"ot-baggage-env": "dev"}, {"uid": "1000"}]
)
def test_others_stay_in_the_baseline(shop: httpx.Client, headers: dict[str, str]) -> None:
    answers = [shop.get(PRODUCT, headers=headers) for _ in range(50)]
    assert {answer.json()["Rating"] for answer in answers} == {0, 1}
