"""What the page asks, and the browser that it is looked at in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from bookinfo_stand_in import StandIn, standing_in
from browser import browser, open_page, screenshot

__all__ = ["browser", "open_page", "screenshot"]


@pytest.fixture(scope="module")
def stand_in(free_port: Callable[[], int]) -> Iterator[StandIn]:
    with standing_in(free_port) as serving:
        yield serving


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test changed of the stand-in is changed back."""
    yield
    if "stand_in" in request.fixturenames:
        stand_in: StandIn = request.getfixturevalue("stand_in")
        stand_in.fails, stand_in.silent, stand_in.slow_s = False, frozenset(), 0.0
