"""Baggage as the W3C has it: what is read, what is left out, what is written."""

from __future__ import annotations

import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meltemi.proxyless import baggage
from opentelemetry import baggage as otel
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12)


def parsed(header: str) -> dict[str, str]:
    return {key: str(value) for key, value in baggage.parse(header).items()}


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baggage, "_said", set())
    baggage.parse.cache_clear()


@pytest.mark.parametrize(
    ("header", "members"),
    [
        ("env=dev", {"env": "dev"}),
        ("env=dev,user=7", {"env": "dev", "user": "7"}),
        (" env\t=  dev ;ttl = 3\t; p , user=7 ", {"env": "dev", "user": "7"}),
        ("env=", {"env": ""}),
        ("env=a=b", {"env": "a=b"}),
        ("env=a+b", {"env": "a+b"}),  # a plus is no space
        ("env=a%20b%2Cc", {"env": "a b,c"}),
        ("env=%E2%82%AC", {"env": "€"}),
        ("env=%FFx", {"env": "\ufffdx"}),
        ("env=5%", {"env": "5%"}),
        ("%65nv=dev", {"%65nv": "dev"}),  # a key is not percent-encoded
        (",,env=dev,", {"env": "dev"}),
        ("env=dev,env=prod", {"env": "prod"}),
        ("", {}),
    ],
)
def test_a_header_is_read_as_the_grammar_says(header: str, members: dict[str, str]) -> None:
    assert parsed(header) == members


@pytest.mark.parametrize(
    "bad",
    [
        "env",
        "=dev",
        "e nv=dev",
        "env=d ev",
        'env="dev"',
        "env=d\\ev",
        "env=dév",
        "énv=dev",
        "env=dev;",
        "env=dev;p q",
        "env=dev;=1",
        "env=dev\n",
        "en\u0661=dev",
    ],
)
def test_a_malformed_member_is_left_out_and_the_others_stay(
    bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert parsed(f"a=1,{bad},b=2") == {"a": "1", "b": "2"}
    assert parsed(f"{bad},c=3") == {"c": "3"}
    assert [record.getMessage() for record in caplog.records if "malformed" in record.getMessage()]
    assert len(caplog.records) == 1, "logged once"


def test_no_value_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    baggage.parse("token=sec ret")
    assert "'token'" in caplog.text
    assert "ret" not in caplog.text.replace("token", "")


def test_properties_stay_with_their_member_as_they_were_written() -> None:
    header = "env=a%2cb;ttl=3;p;q=%20,user=7"
    members = baggage.parse(header)
    assert members["env"].properties == (("ttl", "3"), ("p", None), ("q", " "))
    assert baggage.formatted(members) == header


def test_properties_survive_opentelemetry() -> None:
    context = baggage.replaced(baggage.parse("env=dev;ttl=3,user=7;x"), Context())
    assert otel.get_all(context) == {"env": "dev", "user": "7"}
    context = otel.set_baggage("user", "8", context)
    context = otel.set_baggage("new", "ü, 5%", context)
    assert (
        baggage.formatted(baggage.current(context)) == "env=dev;ttl=3,user=8,new=%C3%BC%2C%205%25"
    )


def test_an_own_value_may_have_properties() -> None:
    value = baggage.Value("a;b", [("ttl", "3"), ("p", None)])
    assert baggage.formatted({"env": value}) == "env=a%3Bb;ttl=3;p"
    with pytest.raises(ValueError, match="property 'a b': want a token"):
        baggage.Value("x", [("a b", None)])


def test_a_value_outlives_pickling() -> None:
    value = pickle.loads(pickle.dumps(baggage.parse("env=a%2cb;ttl=3")["env"]))
    assert (value, value.properties, value.written) == ("a,b", (("ttl", "3"),), "a%2cb;ttl=3")


def test_what_lies_beyond_the_limits_is_left_out_whole(caplog: pytest.LogCaptureFixture) -> None:
    many = ",".join(f"k{number}=v" for number in range(200))
    assert list(parsed(many)) == [f"k{number}" for number in range(baggage.MAX_MEMBERS)]
    large = "a=1," + "b=" + "x" * (baggage.MAX_BYTES - 6) + ",c=3"
    assert list(parsed(large)) == ["a", "b"]
    assert len(caplog.records) == 2


def test_what_is_sent_stays_within_the_limits(caplog: pytest.LogCaptureFixture) -> None:
    assert baggage.formatted({str(number): "v" for number in range(200)}).count(",") == 179
    half = "x" * (baggage.MAX_BYTES // 2)
    assert baggage.formatted({"a": half, "b": half, "c": "1"}) == f"a={half}"
    exactly = "x" * (baggage.MAX_BYTES - 2)
    assert baggage.formatted({"a": exactly}) == f"a={exactly}"
    assert len(caplog.records) == 1


def test_a_key_that_is_no_token_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    assert baggage.formatted({"a b": "1", "c": "2"}) == "c=2"
    assert "'a b'" in caplog.text


def test_baggage_is_appended_and_never_replaced() -> None:
    members = baggage.parse("env=dev;ttl=3,user=7")
    assert baggage.appended("user=8;p", members) == "user=8;p,env=dev;ttl=3"
    assert baggage.appended("", members) == "env=dev;ttl=3,user=7"
    assert baggage.appended("env=x,user=y", members) == "env=x,user=y"


@given(st.dictionaries(TOKENS, st.text(max_size=20), max_size=8))
def test_any_values_come_back(members: dict[str, str]) -> None:
    valid = {key: value.encode("utf-8", "replace").decode() for key, value in members.items()}
    assert parsed(baggage.formatted(valid)) == valid


@given(st.dictionaries(st.text("abcXYZ-_", min_size=1), st.text(max_size=20), max_size=8))
def test_opentelemetrys_own_propagator_reads_the_same(members: dict[str, str]) -> None:
    valid = {key: value.encode("utf-8", "replace").decode() for key, value in members.items()}
    header = baggage.formatted(valid)
    read = otel.get_all(W3CBaggagePropagator().extract({"baggage": header}, Context()))
    # It strips values, also of what was percent-encoded, and takes no empty header.
    assert read == {key: value.strip() for key, value in valid.items()}


@given(st.text(max_size=200))
def test_no_header_makes_it_fail_and_what_is_read_is_written_the_same(header: str) -> None:
    written = baggage.formatted(baggage.parse(header))
    assert baggage.formatted(baggage.parse(written)) == written


def test_members_of_one_key_all_leave_and_the_last_is_read() -> None:
    members = baggage.parse("env=red;p=1, user=7 ,env = dev;q")
    assert members["env"] == "dev"
    assert baggage.formatted(members) == "env=red;p=1,env=dev;q,user=7"
