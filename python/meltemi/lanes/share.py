"""Who is in a percentage: the same key always, and whoever was in a smaller one.

A request's bucket is xxHash64 of its key (seed 0) modulo 100, from 0 to 99; a share of N percent
holds the buckets below N. Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from __future__ import annotations

import struct
from typing import Final

BUCKETS: Final = 100

_MASK: Final = 2**64 - 1
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5


def in_share(key: bytes, percent: int) -> bool:
    """Whether the key is in a share of `percent`, from 0 to 100."""
    return bucket(key) < percent


def bucket(key: bytes) -> int:
    """From 0 to 99."""
    return xxhash64(key) % BUCKETS


def xxhash64(data: bytes) -> int:
    """With seed 0, as an unsigned number."""
    length = len(data)
    at = length - length % 32
    if at:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        for words in struct.iter_unpack("<4Q", data[:at]):
            lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
        turned = zip(lanes, (1, 7, 12, 18), strict=True)
        mixed = sum(_rotated(lane, by) for lane, by in turned) & _MASK
        for lane in lanes:
            mixed = ((mixed ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        mixed = _P5
    return _avalanche(_rest(mixed + length, data[at:]))


def _rest(mixed: int, data: bytes) -> int:
    """The last bytes: by eight, then by four, then one by one."""
    at = 0
    while at + 8 <= len(data):
        (word,) = struct.unpack_from("<Q", data, at)
        mixed = (_rotated(mixed ^ _round(0, word), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= len(data):
        (half,) = struct.unpack_from("<I", data, at)
        mixed = (_rotated(mixed ^ (half * _P1) & _MASK, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        mixed = (_rotated(mixed ^ (byte * _P5) & _MASK, 11) * _P1) & _MASK
    return mixed


def _round(lane: int, word: int) -> int:
    return (_rotated((lane + word * _P2) & _MASK, 31) * _P1) & _MASK


def _rotated(value: int, by: int) -> int:
    value &= _MASK
    return (value << by | value >> (64 - by)) & _MASK


def _avalanche(mixed: int) -> int:
    mixed = ((mixed ^ mixed >> 33) * _P2) & _MASK
    mixed = ((mixed ^ mixed >> 29) * _P3) & _MASK
    return mixed ^ mixed >> 32
