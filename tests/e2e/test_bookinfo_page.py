"""The page of `meltemi up examples/bookinfo`, through its gateway, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from bookinfo_site import Site, serving
from browser import Open
from looking import hop, many, overflows, send, stars, whole_way
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("page") / "bookinfo", free_port()) as serves:
        yield serves


def test_uid_100_is_seen_to_stay_in_lane_dev(
    open_page: Open, site: Site, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(str(site.client.base_url))
    expect(page.get_by_role("heading", name="Also sprach Zarathustra")).to_be_visible()
    expect(page.get_by_test_id("stars")).to_contain_text(re.compile("[01] of 5"))
    whole_way(page)
    expect(page.get_by_test_id("hops")).not_to_contain_text("lane dev")
    many(page, 40)
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    for service in ("reviews", "ratings"):
        expect(hop(page, service)).to_contain_text("v2")
        expect(hop(page, service)).to_contain_text("lane dev")
    expect(hop(page, "details")).to_contain_text("baseline")
    expect(page.locator(".drawing .strand.lane-0").first).to_be_visible()
    screenshot(page)


def test_many_requests_show_the_shares_of_the_rules(open_page: Open, site: Site) -> None:
    page = open_page(str(site.client.base_url))
    expect(many(page, 100)).to_contain_text(
        re.compile(r"100 requests: [\d.]+ % with 1 star, [\d.]+ %")
    )
    reviews = page.get_by_test_id("versions").locator("li", has_text="reviews")
    expect(reviews).to_contain_text(re.compile(r"v1 [\d.]+ % · v3 [\d.]+ %"))
    send(page, "100")
    stars(page, 5)
    expect(many(page, 50)).to_contain_text("50 requests: 100 % with 5 stars")


def test_a_mark_from_outside_is_not_believed(open_page: Open, site: Site) -> None:
    page = open_page(str(site.client.base_url))
    page.get_by_role("switch", name="More headers").click()
    page.get_by_label("Name of header 1").fill("baggage")
    page.get_by_label("Value of header 1").fill("env=dev")
    with page.expect_response("**/api/v1/products/1"):
        page.get_by_role("button", name="Send").click()
    whole_way(page)
    expect(page.get_by_test_id("stars")).to_contain_text(re.compile("[01] of 5"))
    expect(page.get_by_test_id("hops")).not_to_contain_text("lane dev")


def test_the_graph_is_that_of_the_application(open_page: Open, site: Site) -> None:
    page = open_page(str(site.client.base_url))
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    for service in ("productpage", "reviews", "ratings", "details"):
        expect(page.locator(".drawing .node-name", has_text=service)).to_be_visible()
    page.get_by_text("As a table").click()
    row = page.get_by_role("row").filter(has_text="reviews").filter(has_text="ratings")
    expect(row).to_contain_text(re.compile(r"dev [\d.]+ %"))


def test_the_pages_own_questions_are_in_no_trace(open_page: Open, site: Site) -> None:
    page = open_page(str(site.client.base_url))
    whole_way(page)
    with page.expect_response("**/api/v1/graph**"):
        page.get_by_role("button", name="Read the graph again").click()
    page.wait_for_timeout(1500)  # what is exported is there by then, as the way above was
    receiver = site.mesh.meltemi("status", "-o", "json").json()["traces"]["receiver"]
    asked = {
        path: httpx.get(f"{receiver}/api/graph", params={"path": path}).json()["nodes"]
        for path in ("/api/v1/graph", "/api/v1/traces/", "/api/v1/products/")
    }
    assert asked["/api/v1/graph"] == asked["/api/v1/traces/"] == []
    assert asked["/api/v1/products/"] != []


def test_it_is_read_on_a_phone_in_the_dark(
    open_page: Open, site: Site, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(str(site.client.base_url), width=360, height=740, dark=True)
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    assert not overflows(page)
    screenshot(page)


def test_a_service_that_is_down_is_seen(
    open_page: Open, site: Site, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(str(site.client.base_url))
    expect(page.get_by_test_id("stars")).to_contain_text("of 5")
    with site.without("details-v1"):
        _until_failed(page)
        expect(page.get_by_role("alert").first).to_contain_text("productpage answered 500")
        expect(hop(page, "details")).to_contain_text("failed")
        screenshot(page)


def _until_failed(page: Page) -> None:
    """The change is there when a request fails."""
    for _ in range(40):
        with page.expect_response("**/api/v1/products/1") as answered:
            page.get_by_role("button", name="Refresh").click()
        if answered.value.status == 500:
            return
        page.wait_for_timeout(250)
    raise AssertionError("no request failed")
