"""Who is in a percentage."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from meltemi.engine.texts import hash_of
from meltemi.lanes.colouring import Request, coloured, compiled
from meltemi.lanes.share import bucket, in_share
from meltemi.model import Lane, LaneEntry, LaneGroup, Share

# From the reference implementation, xxhsum (https://github.com/Cyan4973/xxHash), with seed 0.
KNOWN = {
    b"": 0xEF46DB3751D8E999,
    b"a": 0xD24EC4F1A98C6E5B,
    b"abc": 0x44BC2CF5AD770999,
    b"Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
}
KEYS = [f"user-{number}".encode() for number in range(10_000)]


@pytest.mark.parametrize("data", KNOWN)
def test_the_hash_is_xxhash64(data: bytes) -> None:
    assert hash_of(data) == KNOWN[data]


def test_a_growing_share_only_adds_keys() -> None:
    inside = [{key for key in KEYS if in_share(key, percent)} for percent in (0, 5, 20, 50, 100)]
    assert inside[0] == set()
    assert inside[-1] == set(KEYS)
    for smaller, larger in itertools.pairwise(inside):
        assert smaller < larger


@pytest.mark.parametrize("percent", [5, 20, 50])
def test_a_share_is_as_large_as_it_says(percent: int) -> None:
    wanted = percent / 100
    deviation = math.sqrt(len(KEYS) * wanted * (1 - wanted))
    found = sum(in_share(key, percent) for key in KEYS)
    assert abs(found - len(KEYS) * wanted) < 4 * deviation


def test_every_bucket_has_its_part() -> None:
    found = [0] * 100
    for key in KEYS:
        found[bucket(key)] += 1
    wanted = len(KEYS) / 100
    assert sum((each - wanted) ** 2 / wanted for each in found) < 160  # chi-squared, 99 degrees


def decided(percent: int) -> set[bytes]:
    """The keys whose requests get the mark."""
    entry = LaneEntry(share=Share(percent, "cookie", "uid"))
    group = LaneGroup("shop", "books", (), "env", (Lane("dev", (), entries=(entry,)),))
    plan = compiled([group])
    found = set()
    for key in KEYS:
        headers = [("cookie", f"a=b; uid={key.decode()}")]
        request = Request("GET", "/", "", headers, "192.0.2.1")
        if ("baggage", "env=dev") in coloured(plan, request, 0):
            found.add(key)
    return found


def test_nobody_leaves_a_lane_whose_percentage_grows() -> None:
    """Through the whole decision: 5, then 20, then 50 percent of 10,000 users."""
    lanes = {percent: decided(percent) for percent in (5, 20, 50)}
    assert lanes[5] < lanes[20] < lanes[50]
    for percent, users in lanes.items():
        wanted = percent / 100
        deviation = math.sqrt(len(KEYS) * wanted * (1 - wanted))
        assert abs(len(users) - len(KEYS) * wanted) < 4 * deviation


def test_without_a_key_each_request_is_for_itself() -> None:
    entry = LaneEntry(share=Share(20))
    plan = compiled([LaneGroup("shop", "books", (), "env", (Lane("dev", (), entries=(entry,)),))])
    chance = random.Random(1)
    same = Request("GET", "/", "", [("cookie", "uid=1")], "192.0.2.1")
    found = sum(
        ("baggage", "env=dev") in coloured(plan, same, chance.getrandbits(64))
        for _ in range(10_000)
    )
    assert abs(found - 2000) < 4 * math.sqrt(10_000 * 0.2 * 0.8)
