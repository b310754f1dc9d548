"""The page in a real browser: what it shows, also where something fails."""

from __future__ import annotations

import re
from collections.abc import Callable

from bookinfo_stand_in import StandIn, standing_in
from browser import Open
from looking import hop, many, overflows, send, stars, whole_way
from playwright.sync_api import Page, Route, expect


def test_it_shows_a_book_with_its_stars(
    open_page: Open, stand_in: StandIn, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(stand_in.url)
    expect(page.get_by_role("heading", name="Also sprach Zarathustra")).to_be_visible()
    expect(page.get_by_text("Friedrich Nietzsche")).to_be_visible()
    expect(page.get_by_test_id("stars")).to_contain_text(re.compile("[01] of 5"))
    whole_way(page)
    screenshot(page)


def test_uid_100_goes_through_lane_dev_in_both_hops(
    open_page: Open, stand_in: StandIn, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(stand_in.url)
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    for service in ("reviews", "ratings"):
        expect(hop(page, service)).to_contain_text("v2")
        expect(hop(page, service)).to_contain_text("lane dev")
    expect(hop(page, "details")).to_contain_text("baseline")
    colours = [
        hop(page, service).evaluate("e => getComputedStyle(e, '::before').backgroundColor")
        for service in ("reviews", "ratings", "details")
    ]
    assert colours[0] == colours[1] != colours[2]
    screenshot(page)


def test_further_headers_are_sent_where_they_are_switched_on(
    open_page: Open, stand_in: StandIn
) -> None:
    page = open_page(stand_in.url)
    page.get_by_role("switch", name="More headers").click()
    page.get_by_label("Name of header 1").fill("cookie")
    expect(page.get_by_text("Browsers do not send this one")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_label("Name of header 1").fill("x-branch")
    page.get_by_label("Value of header 1").fill("payments")
    with page.expect_response("**/api/v1/products/1"):
        page.get_by_role("button", name="Send").click()
    assert stand_in.received[-1]["x-branch"] == "payments"
    page.get_by_role("switch", name="More headers").click()
    with page.expect_response("**/api/v1/products/1"):
        page.get_by_role("button", name="Send").click()
    assert "x-branch" not in stand_in.received[-1]


def test_many_requests_show_what_came_of_them(
    open_page: Open, stand_in: StandIn, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(stand_in.url)
    results = many(page, 50)
    expect(results).to_contain_text("50 requests: 80 % with 1 star, 20 % with 0 stars")
    reviews = page.get_by_test_id("versions").locator("li", has_text="reviews")
    expect(reviews).to_contain_text("v1 80 % · v3 20 %")
    expect(page.get_by_test_id("ratings")).to_contain_text("80 % (40)")
    send(page, "100")
    whole_way(page)
    expect(many(page, 20)).to_contain_text("20 requests: 100 % with 5 stars")
    screenshot(page)


def test_many_requests_can_be_cancelled(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)
    stand_in.slow_s = 0.05
    page.get_by_label("Requests", exact=True).fill("2000")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_test_id("ratings")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    results = page.get_by_test_id("results")
    expect(results).to_have_attribute("data-state", "cancelled")
    sent = len(stand_in.received)
    assert sent < 1000
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.wait_for_timeout(300)
    assert len(stand_in.received) <= sent + 6  # those that were under way


def test_the_graph_has_the_share_of_each_edge_and_lane(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    send(page, "100")
    whole_way(page)
    page.get_by_text("As a table").click()
    row = page.get_by_role("row").filter(has_text="reviews").filter(has_text="ratings")
    expect(row).to_contain_text(re.compile(r"dev [\d.]+ %"))
    expect(page.get_by_role("list", name="Colours of lanes")).to_contain_text("dev")
    for service in ("gateway", "productpage", "reviews", "ratings", "details"):
        expect(page.locator(".drawing .node-name", has_text=service)).to_be_visible()


def test_a_failed_request_says_which_hop_failed(
    open_page: Open, stand_in: StandIn, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)
    stand_in.fails = True
    page.get_by_role("button", name="Refresh").click()
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("productpage answered 500")
    whole_way(page)
    expect(hop(page, "reviews")).to_contain_text("failed")
    expect(hop(page, "reviews")).to_contain_text("no healthy upstream")
    screenshot(page)
    stand_in.fails = False
    page.get_by_role("button", name="Refresh").click()
    stars_are_there(page)
    expect(page.get_by_text("productpage answered 500")).to_have_count(0)


def test_a_gateway_that_is_down_is_said(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)

    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.route("**/api/**", refuse)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("alert").first).to_contain_text("The gateway does not answer.")
    expect(page.get_by_role("alert").first).to_contain_text("meltemi up")
    expect(page.get_by_test_id("stars")).to_contain_text("the request failed")


def test_spans_that_never_come_are_said(open_page: Open, stand_in: StandIn) -> None:
    stand_in.silent = frozenset({"ratings"})
    page = open_page(stand_in.url)
    send(page, "100")
    expect(page.get_by_text("Spans are missing.")).to_be_visible()
    expect(page.get_by_test_id("hops")).to_contain_text("told by its caller")


def test_where_traces_go_to_a_collector_of_the_users_is_said(
    open_page: Open, free_port: Callable[[], int], screenshot: Callable[[Page], None]
) -> None:
    with standing_in(free_port, collector="http://collector.example:4318") as stand_in:
        page = open_page(stand_in.url)
        way = page.get_by_role("region", name="The way it took")
        expect(way).to_contain_text("Traces go to http://collector.example:4318.")
        expect(page.get_by_test_id("served-by")).to_contain_text("reviews")
        expect(way).to_contain_text(re.compile("Trace [0-9a-f]{32}"))
        screenshot(page)


STEADY = 0.05
"""Cumulative layout shift: https://web.dev/articles/cls calls 0.1 good."""


def test_nothing_moves_when_the_answer_comes(open_page: Open, stand_in: StandIn) -> None:
    stand_in.slow_s = 0.5
    page = open_page(stand_in.url)
    page.evaluate(
        "window.shifts = 0; new PerformanceObserver(list => {"
        " for (const e of list.getEntries()) window.shifts += e.value"
        " }).observe({type: 'layout-shift', buffered: true})"
    )
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    assert page.evaluate("window.shifts") < STEADY


def test_it_is_read_on_a_phone(
    open_page: Open, stand_in: StandIn, screenshot: Callable[[Page], None]
) -> None:
    page = open_page(stand_in.url, width=360, height=740)
    page.get_by_role("switch", name="More headers").click()
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    many(page, 10)
    expect(page.locator(".drawing")).to_be_visible()
    assert not overflows(page)
    screenshot(page)


def stars_are_there(page: Page) -> None:
    expect(page.get_by_test_id("stars")).to_contain_text("of 5")
