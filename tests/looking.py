"""What a person sees and does on the page."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def stars(page: Page, number: int) -> None:
    expect(page.get_by_test_id("stars")).to_contain_text(f"{number} of 5")


def whole_way(page: Page) -> None:
    expect(page.get_by_test_id("way-state")).to_have_attribute("data-state", "whole")


def send(page: Page, uid: str) -> None:
    page.get_by_label("uid", exact=True).fill(uid)
    page.get_by_role("button", name="Send").click()


def hop(page: Page, service: str) -> Locator:
    """The row of a service in the way of the request."""
    name = page.locator(".hop-name", has_text=service)
    return page.get_by_test_id("hops").locator("li").filter(has=name)


def many(page: Page, requests: int) -> Locator:
    """Sends so many, and waits for what came of them."""
    page.get_by_label("Requests", exact=True).fill(str(requests))
    page.get_by_role("button", name="Start").click()
    results = page.get_by_test_id("results")
    expect(results).to_have_attribute("data-state", "done", timeout=60_000)
    return results


def overflows(page: Page) -> bool:
    """Whether the page can be scrolled sideways."""
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return bool(wide)
