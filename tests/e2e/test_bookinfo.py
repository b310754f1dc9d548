"""`meltemi up examples/bookinfo`: what its gateway answers, and which instances made the answer."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from bookinfo_site import EXAMPLE, FAILED, Headers, Site, serving
from documents import Block, block, blocks, is_as_shown, steps
from meltemi.lanes.share import in_share
from mesh import eventually

pytestmark = pytest.mark.slow

LANE = ("details-v1", "reviews-v2", "ratings-v2")
FELL_BACK = ("details-v1", "reviews-v2", "ratings-v1")
BASELINE = {("details-v1", "reviews-v1", "ratings-v1"), ("details-v1", "reviews-v3")}
DEV = {"uid": "100"}

PERMISSIVE = """\
  services:
    - {host: productpage}
    - {host: details}
"""
# The lane has never had an instance of these two.
STRICT = """\
  mode: strict
  services:
    - {host: productpage, mode: permissive}
    - {host: details, mode: permissive}
"""
CANARY = """\
apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: ratings-canary, labels: {app: ratings, version: canary}}
spec:
  command: [python, ratings.py]
  env: {RATINGS_VALUE: "4"}
  ports: [{name: thrift, port: 8083}]
  mesh: proxyless
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: canary}
spec:
  group: bookinfo
  labels: {version: canary}
  entry:
    - percentage: {value: %d, by: {header: uid}}
"""


@pytest.fixture(scope="module")
def site(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("bookinfo") / "bookinfo"
    with serving(directory, free_port()) as running:
        yield running


def test_the_gateway_of_the_example_is_at_port_8080() -> None:
    assert "hostPort: 8080}" in (EXAMPLE / "mesh.yaml").read_text()


def test_a_product_is_answered_as_the_original_does(site: Site) -> None:
    answer = site.get(path="/api/v1/products/1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    product = answer.json()
    assert list(product) == ["ID", "Title", "Author", "Description", "Rating"]
    assert {name: type(value) for name, value in product.items()} == {
        "ID": str, "Title": str, "Author": str, "Description": str, "Rating": int,
    }  # fmt: skip
    assert (product["ID"], product["Author"]) == ("1", "Friedrich Nietzsche")
    assert product["Title"] == "《Also sprach Zarathustra》"
    assert product["Rating"] in (0, 1)


def test_the_id_of_a_product_is_that_of_the_request(site: Site) -> None:
    ids = ("2", "a-b", "%E4%B9%A6", "x" * 200)
    found = [site.get(path=f"/api/v1/products/{each}").json()["ID"] for each in ids]
    assert found == ["2", "a-b", "书", "x" * 200]


def test_the_page_is_at_the_root(site: Site) -> None:
    page = site.get(path="/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    (script,) = re.findall(r'<script[^>]* src="([^"]+)"', page.text)
    assert site.get(path=script).headers["content-type"].startswith("text/javascript")


def test_without_a_mark_the_rating_is_1_or_0_at_80_to_20(site: Site) -> None:
    requests = 500
    found = site.ways(requests)
    assert found.keys() == BASELINE
    # Four standard deviations of 500 draws at 0.2: 1 of 16,000 fair runs is beyond.
    bound = 4 * math.sqrt(requests * 0.2 * 0.8)
    assert abs(found["details-v1", "reviews-v3"] - requests * 0.2) <= bound, found


def test_ratings_are_those_of_who_answered(site: Site) -> None:
    for _ in range(50):
        answer = site.get()
        wanted = 0 if "reviews-v3" in answer.headers["x-served-by"] else 1
        assert answer.json()["Rating"] == wanted


def test_with_uid_100_both_hops_stay_in_the_lane(site: Site) -> None:
    answers = [site.get(DEV) for _ in range(200)]
    assert {answer.json()["Rating"] for answer in answers} == {5}
    assert site.ways(200, DEV).keys() == {LANE}


@pytest.mark.parametrize("uid", ["1000", "10", "", "1 00", "100,100"])
def test_another_uid_is_in_no_lane(site: Site, uid: str) -> None:
    assert site.ways(10, {"uid": uid}).keys() <= BASELINE


SPOOFED: dict[str, Headers] = {
    "plain": {"baggage": "env=dev"},
    "odd case of the header": {"BagGage": "env=dev"},
    "odd case of the key": {"baggage": "ENV=dev"},
    "spaces": {"baggage": "env = dev , a=b"},
    "a property": {"baggage": "env=dev;ttl=60"},
    "behind another member": {"baggage": "user=7,env=dev"},
    "percent-encoded value": {"baggage": "env=%64%65%76"},
    "percent-encoded key": {"baggage": "%65nv=dev"},
    "a second header": [("baggage", "user=7"), ("baggage", "env=dev")],
    "empty members": {"baggage": ",,env=dev,,"},
    "OpenTracing": {"ot-baggage-env": "dev"},
    "Jaeger": {"uberctx-env": "dev"},
    "metainfo": {"rpc-persist-baggage": "env=dev"},
    "transient metainfo": {"rpc-transit-baggage": "env=dev"},
    "metainfo of OpenTracing": {"rpc-transit-ot-baggage-env": "dev"},
    "all at once": {
        "baggage": "env=dev",
        "ot-baggage-env": "dev",
        "rpc-persist-baggage": "env=dev",
    },
}


@pytest.mark.parametrize("form", SPOOFED)
def test_a_mark_from_outside_does_not_enter(site: Site, form: str) -> None:
    assert site.ways(12, SPOOFED[form]).keys() <= BASELINE


def test_a_header_that_folds_to_a_mark_is_refused(site: Site) -> None:
    """Behind the gateway `_` and `-` may be one to whoever reads headers as CGI does."""
    for name in ("rpc_persist_baggage", "ot_baggage_env"):
        assert site.get({name: "env=dev"}).status_code == 400


def test_a_mark_from_outside_does_not_replace_the_one_of_the_edge(site: Site) -> None:
    with site.added("canary.yaml", CANARY % 0):
        eventually(lambda: "ratings-canary-0.default" in site.mesh.processes())
        headers = {"uid": "100", "baggage": "env=canary"}
        assert site.ways(20, headers).keys() == {LANE}


def test_a_lanes_instance_that_is_killed_is_fallen_back_from_and_returned_to(site: Site) -> None:
    assert site.way(DEV) == LANE
    site.kill("ratings-v2-0.default")
    assert site.way(DEV) == FELL_BACK
    fell_back = site.get(DEV)
    assert fell_back.json()["Rating"] == 1
    assert site.ways(20).keys() <= BASELINE
    eventually(lambda: site.way(DEV) == LANE, 20)
    assert site.ways(50, DEV).keys() == {LANE}


def test_a_lane_without_an_instance_is_left_and_come_back_to_at_the_next_hop(site: Site) -> None:
    with site.without("reviews-v2"):
        # reviews of the baseline, and of those that ask ratings, the lane's again.
        wanted = {("details-v1", "reviews-v1", "ratings-v2"), ("details-v1", "reviews-v3")}
        eventually(lambda: site.ways(10, DEV).keys() == wanted)
        assert site.ways(100, DEV).keys() == wanted
    eventually(lambda: site.way(DEV) == LANE, 20)


def test_a_strict_lane_without_an_instance_fails_its_own_requests_alone(site: Site) -> None:
    with site.edited("lanes.yaml", PERMISSIVE, STRICT):
        with site.without("ratings-v2"):
            eventually(lambda: site.get(DEV).status_code == 500, 20)
            refused = [site.get(DEV) for _ in range(20)]
            assert [each.status_code for each in refused] == [500] * 20
            assert all(each.json() == FAILED for each in refused)
            assert site.ways(50).keys() == BASELINE
        eventually(lambda: site.get(DEV).status_code == 200, 20)
        assert site.ways(20, DEV).keys() == {LANE}
    log = site.mesh.log("productpage-v1-0.default")
    assert re.search(r"failed: reviews: ratings: .*lane-dev\|ratings", log), log


def test_a_dead_hop_gives_the_originals_error_and_a_line_that_names_it(site: Site) -> None:
    with site.without("details-v1"):
        eventually(lambda: site.get().status_code == 500, 20)
        answer = site.get()
        assert answer.json() == FAILED
        assert answer.text == '{"StatusMessage":"internal error","StatusCode":500}'
    eventually(lambda: site.get().status_code == 200, 20)
    last = [line for line in site.mesh.log("productpage-v1-0.default").splitlines() if line][-1]
    assert last.startswith("ERROR product '1' failed: details: ")


def test_a_lane_that_is_added_takes_its_requests_and_nobody_elses(site: Site) -> None:
    with site.added("mine.yaml", block("examples/bookinfo/README.md", "mine").text):
        user = {"uid": "200"}
        wanted = {("details-v1", "reviews-v1", "ratings-mine"), ("details-v1", "reviews-v3")}
        eventually(lambda: "ratings-mine" in site.way(user), 20)
        assert site.ways(50, user).keys() == wanted
        assert site.ways(20, DEV).keys() == {LANE}
        assert site.ways(50).keys() == BASELINE
    eventually(lambda: "ratings-mine-0.default" not in site.mesh.processes(), 20)
    assert site.ways(50, user).keys() == BASELINE


@pytest.mark.parametrize(
    "example",
    [each for each in blocks("examples/bookinfo/README.md") if each.mark == "console"],
    ids=lambda example: f"line {example.line}",
)
def test_the_commands_of_its_page_print_what_it_shows(site: Site, example: Block) -> None:
    for command, expected in steps(example.text):
        here = command.replace("http://127.0.0.1:8080", str(site.client.base_url).rstrip("/"))
        done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=20)
        assert is_as_shown(expected, done.stdout), f"{command}\nprints\n{done.stdout}"


def in_lane(site: Site, users: list[str]) -> set[str]:
    """Who is answered from the lane, where what answers is asked at all; always or never."""
    found = set()
    for user in users:
        ways = site.ways(4, {"uid": user})
        ratings = {way[2] for way in ways if len(way) == 3}
        assert len(ratings) == 1, (user, ways)
        if ratings == {"ratings-canary"}:
            found.add(user)
    return found


def test_a_percentage_is_sticky_and_growing_it_only_adds_users(site: Site) -> None:
    users = [f"user-{number}" for number in range(60)]
    few, more = ({user for user in users if in_share(user.encode(), each)} for each in (20, 60))
    assert few < more

    def is_in(user: str) -> bool:
        return any("ratings-canary" in way for way in site.ways(2, {"uid": user}))

    with site.added("canary.yaml", CANARY % 20):
        eventually(lambda: is_in(min(few)), 20)
        assert in_lane(site, users) == few
        with site.edited("canary.yaml", "value: 20", "value: 60"):
            eventually(lambda: is_in(min(more - few)), 20)
            assert in_lane(site, users) == more


def test_the_way_of_a_request_is_in_its_trace(site: Site) -> None:
    eventually(lambda: site.way(DEV) == LANE, 20)
    answer = site.get(DEV)
    path = f"/api/v1/traces/{answer.headers['x-trace-id']}"

    def hops() -> dict[str, dict[str, str]]:
        told = site.get(path=path)
        return {hop["service"]: hop for hop in told.json()["hops"]} if told.is_success else {}

    names = {"productpage", "details", "reviews", "ratings"}
    eventually(lambda: hops().keys() >= names, 10)
    found = hops()
    assert {name: found[name]["version"] for name in names} == {
        "productpage": "v1", "details": "v1", "reviews": "v2", "ratings": "v2",
    }  # fmt: skip
    assert (found["reviews"]["lane"], found["ratings"]["lane"]) == ("dev", "dev")
    assert found["details"]["lane"] == "baseline"
