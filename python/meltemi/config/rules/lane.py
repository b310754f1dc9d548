"""Our rules for `LaneGroup` and `Lane`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import lane_entry, names
from meltemi.model import BASELINE

LONGEST_LANE: Final = 58
"""The name of its subset, `lane-NAME`, is a label too."""


def name_error(text: str) -> str | None:
    """What is wrong with the name of a Lane: it is also a mark's value and part of a subset's."""
    if text == BASELINE:
        return f"{text!r} is what is in no lane"
    if len(text) > LONGEST_LANE:
        return f"{text!r} has more than {LONGEST_LANE} characters"
    return names.label_error(text)


def check_group(spec: Place, namespace: str) -> Iterator[Finding]:
    services = spec["services"]
    if services.value == []:
        yield services.error("missing-field", "the group has no service", "- host: reviews")
    seen: set[str] = set()
    for service in services.items:
        host = service["host"]
        wrong = names.host_error(host.text) if host.there else None
        if wrong:
            yield host.error("invalid-host", wrong, "the name of one service")
        elif names.full_host(host.text, namespace) in seen:
            yield host.error("duplicate-value", f"{host.text} is in the group already")
        seen.add(names.full_host(host.text, namespace))
        yield from _fallback(service["fallback"])
    yield from _fallback(spec["fallback"])
    yield from names.labels(spec["baseline"]["labels"])
    key = spec["baggageKey"]
    if key.there and not names.is_label_name(key.text):
        yield key.error(
            "bad-value", f"{key.text!r} is no key of a mark",
            "letters, digits, '-', '_' and '.', such as lane",
        )  # fmt: skip
    for network in spec["edge"]["trustedSources"].items:
        yield from lane_entry.network(network)
    yield from _marks_from(spec["marksFrom"])


def _marks_from(selectors: Place) -> Iterator[Finding]:
    if selectors.value == []:
        yield selectors.error("missing-field", "no workload's marks would count", "leave it out")
    for selector in selectors.items:
        namespace = selector["namespace"]
        if not selector["labels"].value and not namespace.there:
            yield selector.error(
                "missing-field", "it names every workload", "leave marksFrom out, or say labels"
            )
        if isinstance(namespace.value, str) and names.label_error(namespace.text):
            yield namespace.error("bad-value", f"{namespace.text!r} is not a namespace")
        yield from names.labels(selector["labels"])


def _fallback(chain: Place) -> Iterator[Finding]:
    seen: set[str] = set()
    for lane in chain.items:
        if lane.text == BASELINE:
            yield lane.error("bad-value", "the baseline is always the last", "leave it out")
        elif lane.value == "" or (lane.text and name_error(lane.text)):
            yield lane.error("bad-value", f"{lane.text!r} is not the name of a Lane")
        elif lane.text in seen:
            yield lane.error("duplicate-value", f"{lane.text} is in the chain already")
        seen.add(lane.text)


def check_lane(spec: Place, namespace: str) -> Iterator[Finding]:
    group = spec["group"]
    if isinstance(group.value, str) and names.subdomain_error(group.text):
        yield group.error("bad-value", f"{group.text!r} is not the name of a LaneGroup")
    labels = spec["labels"]
    if labels.value == {}:
        yield labels.error(
            "missing-field", "no label: every instance would be in the lane",
            "leave labels out for the group's baggageKey with the lane's name",
        )  # fmt: skip
    yield from names.labels(labels)
    for entry in spec["entry"].items:
        yield from lane_entry.check(entry)
