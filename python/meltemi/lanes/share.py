"""Who is in a percentage: the same key always, and whoever was in a smaller one.

A request's bucket is xxHash64 of its key (seed 0) modulo 100, from 0 to 99; a share of N percent
holds the buckets below N.
"""

from __future__ import annotations

from meltemi.engine.texts import hash_of
from meltemi.model import BUCKETS


def in_share(key: bytes, percent: int) -> bool:
    """Whether the key is in a share of `percent`, from 0 to 100."""
    return hash_of(key) % BUCKETS < percent


def bucket(key: bytes) -> int:
    """From 0 to 99."""
    return hash_of(key) % BUCKETS
