"""What a user may write for a target, and under which names its listener may be found."""

from __future__ import annotations

import pytest
from meltemi.proxyless import SettingsError
from meltemi.proxyless.bootstrap import options
from meltemi.proxyless.listener_names import candidates, full_names, guesses
from meltemi.proxyless.target import Target
from meltemi.xds.messages import CLUSTER, ROUTE

OPTIONS = options({"namespace": "demo"}, {})


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("reviews:9080", "reviews", 9080),
        ("Reviews.Default:9080", "reviews.default", 9080),
        ("reviews.default", "reviews.default", 80),
        ("reviews:", "reviews", 80),
        ("reviews.default.svc.cluster.local.:9080", "reviews.default.svc.cluster.local", 9080),
        ("http://details:9080/some/path", "details", 9080),
        ("http://details", "details", 80),
        ("https://details", "details", 443),
        ("HTTP://details:9080", "details", 9080),
        ("xds://reviews:9080", "reviews", 9080),
        ("10.0.0.7:9080", "10.0.0.7", 9080),
        (" reviews:9080 ", "reviews", 9080),
    ],
)
def test_a_target_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    found = Target.parse(text)
    assert (found.host, found.port) == (host, port)
    assert found.authority == found.listener == f"{host}:{port}"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert Target.parse("[2001:db8::1]:9080").authority == "[2001:db8::1]:9080"


@pytest.mark.parametrize(
    "text", ["", ":9080", "reviews:0", "reviews:x", "a b:1", "reviews:70000", "ftp://a"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Target.parse(text)


@pytest.mark.parametrize("text", ["reviews:x", "reviews:70000"])
def test_a_wrong_port_is_answered_with_what_a_port_is(text: str) -> None:
    with pytest.raises(SettingsError, match=f"'{text}' is no HOST:PORT, .* from 1 to 65535$"):
        Target.parse(text)


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("reviews", "reviews.demo.svc.cluster.local"),
        ("reviews.other", "reviews.other.svc.cluster.local"),
        ("reviews.other.svc", "reviews.other.svc.cluster.local"),
        ("reviews.other.svc.cluster.local", "reviews.other.svc.cluster.local"),
        ("api.example.com", "api.example.com"),
    ],
)
def test_short_names_are_read_as_the_platform_does(host: str, full: str) -> None:
    assert next(full_names(host, OPTIONS)) == full


def test_a_host_may_also_be_one_of_a_service_entry() -> None:
    assert "example.com" in list(full_names("example.com", OPTIONS))


def test_what_a_service_will_need_is_guessed_by_its_full_name() -> None:
    name = "outbound|9080||reviews.demo.svc.cluster.local"
    assert guesses(Target.parse("reviews:9080"), OPTIONS) == ((ROUTE, name), (CLUSTER, name))


def test_as_a_sidecar_the_own_address_comes_before_the_shared_port() -> None:
    table = {"reviews.demo.svc.cluster.local": ("10.0.0.7", "10.0.0.8")}
    found = candidates(Target.parse("reviews:9080"), table, OPTIONS)
    assert found == ("10.0.0.7_9080", "10.0.0.8_9080", "0.0.0.0_9080")
    assert candidates(Target.parse("other:9080"), table, OPTIONS) == ("0.0.0.0_9080",)
