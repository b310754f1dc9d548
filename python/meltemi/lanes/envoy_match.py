"""Conditions in the words of Envoy's matching API, as JSON of its protobuf messages."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

from meltemi.model import BUCKETS

TYPE: Final = "type.googleapis.com/"
WITH_MATCHER: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_COMPOSITE: Final = "envoy.extensions.filters.http.composite.v3."
_COMMON: Final = "envoy.extensions.matching.common_inputs.network.v3."
_MATCHERS: Final = "envoy.extensions.matching.input_matchers."

Predicate = dict[str, Any]


def typed(name: str, message: str, **fields: Any) -> dict[str, Any]:
    """A `TypedExtensionConfig`, or an HTTP filter, whose message is `message`."""
    return {"name": name, "typed_config": {"@type": TYPE + message, **fields}}


def any_of(predicates: Sequence[Predicate]) -> Predicate:
    return _several("or_matcher", predicates)


def all_of(predicates: Sequence[Predicate]) -> Predicate:
    return _several("and_matcher", predicates)


def _several(kind: str, predicates: Sequence[Predicate]) -> Predicate:
    """Envoy wants two at least."""
    return predicates[0] if len(predicates) == 1 else {kind: {"predicate": list(predicates)}}


def none_of(predicate: Predicate) -> Predicate:
    return {"not_matcher": predicate}


def header(name: str, **match: Any) -> Predicate:
    """Of several headers of the name, their values joined by commas. Without one it does not
    hold. `match` is a StringMatcher's."""
    what = typed("header", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": what, "value_match": match}}


def regex(text: str) -> dict[str, Any]:
    """Of a StringMatcher: the whole value is `text`, of RE2's syntax."""
    return {"safe_regex": {"google_re2": {}, "regex": text}}


def present(name: str) -> Predicate:
    """Any bytes: `.` of RE2 is none that is no UTF-8, and who sends one must not pass by."""
    return header(name, **regex(r"\C*"))


def header_in_share(name: str, percent: int) -> Predicate:
    """The header's value is in the share, or there are several values."""
    what = typed("header", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    several = header(name, contains=",")
    # Presence last: it takes RE2, and who is not in the share is not asked.
    return all_of([any_of([_in_share(what, percent), several]), present(name)])


def source_in_share(percent: int) -> Predicate:
    return _in_share(_source(), percent)


def _in_share(what: dict[str, Any], percent: int) -> Predicate:
    """The matcher is for what lies at its threshold or above."""
    matcher = typed(
        "share",
        f"{_MATCHERS}consistent_hashing.v3.ConsistentHashing",
        threshold=percent,
        modulo=BUCKETS,
    )
    return none_of({"single_predicate": {"input": what, "custom_match": matcher}})


def source_within(networks: Iterable[str]) -> Predicate:
    """The TCP peer is in one of the networks."""
    ranges = []
    for each in networks:
        network = ipaddress.ip_network(each)
        ranges.append(
            {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        )
    matcher = typed("networks", f"{_MATCHERS}ip.v3.Ip", cidr_ranges=ranges, stat_prefix="lanes")
    return {"single_predicate": {"input": _source(), "custom_match": matcher}}


def _source() -> dict[str, Any]:
    return typed("source", f"{_COMMON}DirectSourceIPInput")


def metadata(namespace: str, key: str, text: str) -> Predicate:
    """A string of the request's dynamic metadata is the regex `text` as a whole."""
    what = typed(
        "metadata", f"{_COMMON}DynamicMetadataInput", filter=namespace, path=[{"key": key}]
    )
    value = {"string_match": {"safe_regex": {"regex": text}}}
    matcher = typed("value", f"{_MATCHERS}metadata.v3.Metadata", value=value)
    return {"single_predicate": {"input": what, "custom_match": matcher}}


def only_where(name: str, wanted: Predicate, config: dict[str, Any]) -> dict[str, Any]:
    """The HTTP filter of `config` (its `typed_config`), passed over by all other requests."""
    skip = typed("skip", "envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    matchers = [{"predicate": none_of(wanted), "on_match": {"action": skip}}]
    return _with_matcher(name, {"matcher_list": {"matchers": matchers}}, config)


def in_one(name: str, filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All of the HTTP filters, in their order, as one of that name."""
    chain = {"typed_config": list(filters)}
    action = typed("all", f"{_COMPOSITE}ExecuteFilterAction", filter_chain=chain)
    return _with_matcher(
        name, {"on_no_match": {"action": action}}, {"@type": f"{TYPE}{_COMPOSITE}Composite"}
    )


def _with_matcher(name: str, matcher: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    return typed(
        name,
        WITH_MATCHER,
        xds_matcher=matcher,
        extension_config={"name": name, "typed_config": config},
    )
