"""Who is in a percentage."""

from __future__ import annotations

import itertools
import math

import pytest
from meltemi.lanes import bucket, in_share
from meltemi.lanes.share import xxhash64

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
    assert xxhash64(data) == KNOWN[data]


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
