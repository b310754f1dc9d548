"""The page without a mouse, in the dark, and for who hears it: axe-core, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bookinfo_stand_in import StandIn
from browser import Open
from looking import many, send, stars, whole_way
from playwright.sync_api import Page, expect

AXE = Path(__file__).resolve().parents[2] / "page/node_modules/axe-core/axe.min.js"
FOCUSED = """async () => {
  const drawn = () => new Promise(requestAnimationFrame);
  await drawn(), await drawn(), await drawn();
  const e = document.activeElement;
  const shown = e.closest('.arco-radio-button, .arco-input-inner-wrapper') ?? e;
  const style = getComputedStyle(shown);
  const label = e.labels && e.labels[0] && e.labels[0].innerText;
  return {
    name: e.getAttribute('aria-label') || label || e.innerText || e.tagName,
    seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  };
}"""


def test_everything_is_done_by_keyboard(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)
    names = []
    for _ in range(18):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        names.append(focused["name"].strip())
        assert focused["seen"], f"{names[-1]} has the focus, and nobody sees it"
        if names[-1] == "Start":
            break
    wanted = ["Skip to the book", "Dark", "Refresh", "uid", "Send", "More headers"]
    assert names[: len(wanted)] == wanted
    assert names[-1] == "Start"
    page.keyboard.press("Enter")
    results = page.get_by_test_id("results")
    expect(results).to_have_attribute("data-state", "done", timeout=60_000)


def test_a_uid_is_sent_with_enter(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)
    page.get_by_label("uid", exact=True).focus()
    page.keyboard.type("100")
    page.keyboard.press("Enter")
    stars(page, 5)


def test_the_first_tab_skips_to_the_book(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    stars_are_there(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["name"] == "Refresh"


def test_what_comes_is_said_to_who_hears_the_page(open_page: Open, stand_in: StandIn) -> None:
    page = open_page(stand_in.url)
    for test_id in ("stars", "way-state"):
        expect(page.get_by_test_id(test_id)).to_have_attribute("aria-live", "polite")
    many(page, 3)
    expect(page.get_by_role("status").filter(has_text="3 requests")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_theme_is_the_systems_until_somebody_says_otherwise(
    open_page: Open, stand_in: StandIn, dark: bool
) -> None:
    page = open_page(stand_in.url, dark=dark)
    body = page.locator("body")
    switch = page.get_by_role("switch", name="Dark")
    assert (body.get_attribute("arco-theme") == "dark") == dark
    expect(switch).to_have_attribute("aria-checked", str(dark).lower())
    switch.click()
    page.reload()
    stars_are_there(page)
    assert (body.get_attribute("arco-theme") == "dark") != dark


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(
    open_page: Open,
    stand_in: StandIn,
    screenshot: Callable[[Page], None],
    width: int,
    dark: bool,
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there: `make page` installs it")
    page = open_page(stand_in.url, width=width, dark=dark)
    page.get_by_role("switch", name="More headers").click()
    send(page, "100")
    stars(page, 5)
    whole_way(page)
    many(page, 10)
    page.get_by_text("As a table").click()
    screenshot(page)
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    problems = [
        f"{violation['id']}: {node['html'][:160]} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
    assert problems == [], "\n".join(problems)


def stars_are_there(page: Page) -> None:
    expect(page.get_by_test_id("stars")).to_contain_text("of 5")
