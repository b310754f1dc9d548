"""The recipes of docs/lanes.md, each saved as the page says, on the Bookinfo that they are for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from bookinfo_site import Site, save, serving
from documents import block
from meltemi.lanes.share import bucket
from mesh import eventually

PAGE = "docs/lanes.md"
USERS = [f"user-{number}" for number in range(200)]
SETTLED_S = 20.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("recipes") / "bookinfo", free_port()) as site:
        yield site


def recipe(site: Site, text: str) -> None:
    """In place of the lanes that there are."""
    save(site.mesh.directory / "lanes.yaml", text)


def in_v2(site: Site, **headers: str) -> bool:
    """Whether both hops are of v2; a request that is half in fails."""
    _, *hops = site.way({name.replace("_", "-"): value for name, value in headers.items()})
    inside = "reviews-v2" in hops
    assert not inside or hops == ["reviews-v2", "ratings-v2"], hops
    return inside


def settle(site: Site, *, inside: bool, **headers: str) -> None:
    """Waits until every node follows the recipe: they take it one after the other."""

    def settled() -> bool:
        try:
            return all(in_v2(site, **headers) is inside for _ in range(10))
        except AssertionError:
            return False

    eventually(settled, SETTLED_S)


def in_share(percent: int) -> set[str]:
    """As the page says it can be told without asking anybody."""
    return {user for user in USERS if bucket(user.encode()) < percent}


def test_a_canary_keeps_its_users_while_it_grows(site: Site) -> None:
    text = block(PAGE, "canary").text
    inside: set[str] = set()
    for percent in (5, 20, 50):
        recipe(site, text.replace("value: 5", f"value: {percent}"))
        expected = in_share(percent)
        settle(site, inside=True, uid=min(expected - inside))
        now = {user for user in USERS if in_v2(site, uid=user)}
        assert now == expected
        assert inside < now
        deviation = math.sqrt(len(USERS) * percent / 100 * (1 - percent / 100))
        assert abs(len(now) - len(USERS) * percent / 100) < 4 * deviation
        inside = now
    assert not in_v2(site)
    recipe(site, text.replace("group: shop", "group: shop\n  enabled: false"))
    settle(site, inside=False, uid=min(in_share(5)))
    assert not any(in_v2(site, uid=user) for user in sorted(inside)[:50])


def test_green_is_seen_by_testers_then_by_all_and_left_again(site: Site) -> None:
    green, switch = block(PAGE, "green").text, block(PAGE, "switch").text
    group, _, _ = green.partition("---\n")
    recipe(site, green)
    settle(site, inside=True, x_preview="green")
    assert not any(in_v2(site) for _ in range(50))
    recipe(site, f"{group}---\n{switch}")
    settle(site, inside=True)
    assert all(in_v2(site) for _ in range(50))
    recipe(site, green)
    settle(site, inside=False)
    assert not any(in_v2(site) for _ in range(50))


def test_a_green_that_is_not_there_is_an_error_that_names_it(site: Site) -> None:
    recipe(site, block(PAGE, "green").text.replace("{version: v2}", "{version: v9}"))
    preview = {"x-preview": "green"}
    eventually(lambda: site.get(preview).status_code == 500, SETTLED_S)
    eventually(lambda: "lane-green" in site.mesh.log("productpage-v1-0.default"))
    assert not in_v2(site)


def test_half_of_the_users_of_a_page_see_b(site: Site) -> None:
    recipe(site, block(PAGE, "ab").text)
    expected = in_share(50)
    settle(site, inside=True, uid=min(expected))
    assert {user for user in USERS if in_v2(site, uid=user)} == expected


def test_a_branch_is_one_service_of_many(site: Site) -> None:
    recipe(site, block(PAGE, "branch").text)
    branch = {"x-branch": "fix-stars"}
    eventually(lambda: "ratings-fix-stars" in site.way(branch), SETTLED_S)
    for headers in (branch, {"cookie": "theme=dark; branch=fix-stars"}, None):
        ways = site.ways(50, headers)
        # What has no instance of the branch is shared, by the rules of the baseline.
        assert {way[1] for way in ways} == {"reviews-v1", "reviews-v3"}
        stars = {hop for way in ways for hop in way if hop.startswith("ratings")}
        if headers:
            assert stars == {"ratings-fix-stars"}
        else:
            assert stars <= {"ratings-v1", "ratings-v2"}
