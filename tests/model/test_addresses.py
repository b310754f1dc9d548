"""Addresses of a mesh are its own, stable, and never given twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.model.addresses import RESERVED, Addresses, OutOfAddresses

KEYS = st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=50)


@given(KEYS)
def test_every_key_gets_an_address_of_its_own_in_the_subnet(keys: list[str]) -> None:
    addresses = Addresses("127.9")
    given_out = [addresses.address(key) for key in keys]
    assert len(set(given_out)) == len(keys)
    assert all(address.startswith("127.9.") for address in given_out)


@given(KEYS)
def test_the_same_keys_give_the_same_addresses_in_another_run(keys: list[str]) -> None:
    first, second = Addresses("127.9"), Addresses("127.9")
    assert [first.address(key) for key in keys] == [second.address(key) for key in keys]


@given(KEYS, KEYS)
def test_what_was_handed_out_before_stays_whatever_comes_first(
    keys: list[str], others: list[str]
) -> None:
    before = Addresses("127.9")
    kept = {key: before.address(key) for key in keys}
    after = Addresses("127.9", dict(before.taken))
    for key in others:
        after.address(key)
    assert {key: after.address(key) for key in keys} == kept


def test_what_another_subnet_handed_out_is_not_believed() -> None:
    taken = {"a": "127.8.0.9", "b": "127.9.0.9", "c": "127.9.0.9", "d": "127.9.00.7", "e": "x"}
    addresses = Addresses("127.9", taken)
    assert dict(addresses.taken) == {"b": "127.9.0.9"}
    assert addresses.address("c") != "127.9.0.9"


def test_a_full_subnet_is_an_error_and_freed_addresses_are_used_again() -> None:
    addresses = Addresses("127.9")
    for number in range((1 << 16) - len(RESERVED)):
        addresses.address(str(number))
    with pytest.raises(OutOfAddresses):
        addresses.address("one more")
    free = addresses.address("7")
    addresses.keep(frozenset(addresses.taken) - {"7"})
    assert addresses.address("one more") == free


def test_reserved_addresses_are_never_given() -> None:
    addresses = Addresses("127.9")
    for number in range((1 << 16) - len(RESERVED)):
        addresses.address(str(number))
    given_out = set(addresses.taken.values())
    assert not given_out & {f"127.9.{host >> 8}.{host & 255}" for host in RESERVED}


@pytest.mark.parametrize("subnet", ["10.1", "127", "127.256", "127.x", "127.1.2"])
def test_a_subnet_that_is_not_of_loopback_is_refused(subnet: str) -> None:
    with pytest.raises(ValueError, match=r"127\.N"):
        Addresses(subnet)
