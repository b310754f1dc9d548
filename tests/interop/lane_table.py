"""The lane table: groups, lanes, who is there and who is not, and the lane of every hop.

Each row is three services, called one by the other: a, b, c. What a case wants is the lane of the
instance that answers at each of them; `!dev` is an error instead of an answer, which names the lane
`dev`, and ends the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

HOPS: Final = ("a", "b", "c")
ALL: Final[dict[str, Mapping[str, Any]]] = {hop: {} for hop in HOPS}
CLOSED: Final = {"enabled": False}
LABELS: Final = {
    "base": {"version": "v1"},
    "v2": {"version": "v2"},
    "dev": {"env": "dev"},
    "red": {"env": "red"},
    "blue": {"env": "blue"},
}
"""Of the instances, by the lane that they stand for; `v2` is in none, as `base` is."""


@dataclass(frozen=True)
class Row:
    name: str
    at: Mapping[str, str]
    """Who is at each hop: the words of LABELS; with `!` nothing listens there."""
    cases: Mapping[str, str]
    """What comes of a request, by its baggage."""
    group: Mapping[str, Any] = field(default_factory=dict)
    """Of the LaneGroup's spec what is beside its services; the key is `env` where none is said."""
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: ALL)
    """The hops that are in the group, each with its own exceptions."""
    lanes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"dev": {}})
    """By name; of a Lane's spec what is beside its group."""
    more: str = ""
    """Other documents; HOST_B is the host of b, NAMESPACE that of the row."""

    def host(self, hop: str) -> str:
        return f"{hop}.{self.name}.mesh"

    @property
    def someone_is_gone(self) -> bool:
        return any("!" in words for words in self.at.values())


EVERYWHERE: Final = {"a": "base dev", "b": "base dev", "c": "base dev"}
MISSING_AT_B: Final = {"a": "base dev", "b": "base", "c": "base dev"}
GONE_AT_B: Final = {"a": "base dev", "b": "base dev!", "c": "base dev"}
NOBODY: Final = {"": "base base base"}
IN_DEV: Final = {**NOBODY, "env=dev": "dev dev dev"}
RETURNS: Final = {**NOBODY, "env=dev": "dev base dev"}
REFUSED: Final = {**NOBODY, "env=dev": "dev !dev"}
STRICT: Final = {"mode": "strict"}
THREE: Final[Mapping[str, Mapping[str, Any]]] = {"dev": {}, "red": {}, "blue": {}}
BLUE_RED: Final = {"fallback": ["blue", "red"]}

FORMS: Final = {
    "env=dev": True,
    "env = dev": True,
    "userId=7;p=1 , env=dev;ttl=3;q, z=": True,
    "env=dev,userId=7": True,
    "env=d%65v": True,
    "env=%64%65%76;secret": True,
    "a=b;env=dev": False,
    "env=nobody": False,
    "env=development": False,
    "env=dev%20": False,
    "xenv=dev": False,
    "Env=dev": False,
    "env=DEV": False,
}
"""How a mark is written, and what only looks like one."""

OWN_ROUTES: Final = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: NAMESPACE}
spec:
  host: HOST_B
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own, namespace: NAMESPACE}
spec:
  hosts: [HOST_B]
  http: [{route: [{destination: {host: HOST_B, subset: v2}}]}]
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: own, namespace: NAMESPACE}
spec:
  hosts: [HOST_B]
  routes: [{name: own, route: [{destination: {host: HOST_B, subset: v2}}]}]
---
"""
PLAIN_ROUTES: Final = OWN_ROUTES.replace(", subset: v2}}]", "}}]")
"""They name no subset: they lead to the baseline."""
SECOND_GROUP: Final = """\
apiVersion: meltemi.io/v1alpha1
kind: LaneGroup
metadata: {name: other, namespace: NAMESPACE}
spec: {baggageKey: colour, mode: strict, services: [{host: HOST_C}]}
---
apiVersion: meltemi.io/v1alpha1
kind: Lane
metadata: {name: red, namespace: NAMESPACE}
spec: {group: other, labels: {env: red}}
---
"""

TABLE: Final = (
    # === permissive ===
    Row(
        "forms",
        EVERYWHERE,
        {form: "dev dev dev" if marked else "base base base" for form, marked in FORMS.items()}
        | NOBODY,
    ),
    Row("returns", MISSING_AT_B, RETURNS),
    Row("nowhere", dict.fromkeys(HOPS, "base"), {**NOBODY, "env=dev": "base base base"}),
    Row("late", {"a": "base", "b": "base", "c": "base dev"}, {"env=dev": "base base dev"}),
    Row(
        "several",
        {"a": "base dev", "b": "dev dev! base", "c": "dev v2"},
        {"env=dev": "dev dev dev"},
    ),
    Row("gone", GONE_AT_B, RETURNS),
    Row("all-gone", {"a": "base dev", "b": "base! dev!", "c": "base"}, {"env=dev": "dev !dev"}),
    Row(
        "no-baseline",
        {"a": "base dev", "b": "dev", "c": "base dev"},
        {"": "base !baseline", "env=dev": "dev dev dev"},
    ),
    # === strict ===
    Row("strict", EVERYWHERE, IN_DEV, STRICT),
    Row("strict-missing", MISSING_AT_B, REFUSED, STRICT),
    Row("strict-gone", GONE_AT_B, REFUSED, STRICT),
    Row(
        "strict-several",
        {"a": "base dev", "b": "dev dev! base", "c": "dev v2"},
        {"env=dev": "dev dev dev"},
        STRICT,
    ),
    Row(
        "strict-at-once",
        {"a": "base", "b": "base dev", "c": "base dev"},
        {"env=dev": "!dev"},
        STRICT,
    ),
    Row(
        "strict-lane",
        MISSING_AT_B,
        {"env=dev": "dev !dev", "env=red": "base base base"},
        lanes={"dev": STRICT, "red": {}},
    ),
    # === exceptions of a service ===
    Row(
        "one-is-strict",
        MISSING_AT_B,
        REFUSED,
        services={**ALL, "b": STRICT},
    ),
    Row(
        "one-is-permissive",
        MISSING_AT_B,
        RETURNS,
        STRICT,
        services={**ALL, "b": {"mode": "permissive"}},
        lanes={"dev": STRICT},
    ),
    Row(
        "one-is-not-in-it",
        {"a": "base dev", "b": "base", "c": "base dev"},
        RETURNS,
        STRICT,
        services={"a": {}, "c": {}},
    ),
    # === fallback ===
    Row(
        "chain",
        {"a": "base dev", "b": "base red", "c": "base blue red"},
        {"env=dev": "dev red blue", "env=red": "base red red", "env=blue": "base red blue"},
        BLUE_RED,
        lanes=THREE,
    ),
    Row(
        "chain-of-one",
        {"a": "base dev red", "b": "base red", "c": "base blue red"},
        {"env=dev": "dev base red"},
        {"fallback": ["red"]},
        services={**ALL, "b": {"fallback": []}, "c": {"fallback": ["red", "blue"]}},
        lanes=THREE,
    ),
    Row(
        "chain-over-gone",
        {"a": "base dev! blue", "b": "base blue! dev! red", "c": "base blue! dev! red!"},
        {"env=dev": "blue red base"},
        BLUE_RED,
        lanes=THREE,
    ),
    Row(
        "chain-over-closed",
        {"a": "base blue", "b": "base blue red", "c": "base dev red"},
        {"env=dev": "base red dev", "env=blue": "base base base"},
        BLUE_RED,
        services={**ALL, "a": {"fallback": ["blue"]}},
        lanes={**THREE, "blue": CLOSED},
    ),
    # === which lanes ===
    Row("closed", EVERYWHERE, {**NOBODY, "env=dev": "base base base"}, lanes={"dev": CLOSED}),
    Row(
        "closed-strict",
        EVERYWHERE,
        {"env=dev": "base base base", "env=dev,env=red": "!red"},
        STRICT,
        lanes={"dev": CLOSED, "red": {}},
    ),
    Row(
        "two-marks",
        {"a": "base dev red blue", "b": "base dev", "c": "base blue dev red"},
        {
            "env=dev,env=red": "red base red",
            "env=red;p=1,x=y , env=dev": "red base red",
            "env=dev,env=blue": "blue base blue",
        },
        lanes={**THREE, "red": {"priority": 5}},
    ),
    Row(
        "labels-of-its-own",
        {"a": "base v2", "b": "base", "c": "v2 base"},
        {**NOBODY, "env=canary-1": "v2 base v2", "env=canary-12": "base base base"},
        lanes={"canary-1": {"labels": {"version": "v2"}}},
    ),
    Row(
        "baseline-of-its-own",
        {"a": "base v2 dev", "b": "base v2", "c": "v2 base dev"},
        {**IN_DEV, "env=dev": "dev base dev"},
        {"baseline": {"labels": {"version": "v1"}}},
    ),
    Row(
        "other-key",
        EVERYWHERE,
        {"my.env=dev": "dev dev dev", "myxenv=dev": "base base base", "env=dev": "base base base"},
        {"baggageKey": "my.env"},
        lanes={"dev": {"labels": {"env": "dev"}}},
    ),
    Row(
        "two-groups",
        {"a": "base dev", "b": "base dev", "c": "base red"},
        {
            "env=dev": "dev dev base",
            "env=dev,colour=red": "dev dev red",
            "colour=red": "base base red",
            "env=red,colour=dev": "base base base",
        },
        services={"a": {}, "b": {}},
        more=SECOND_GROUP,
    ),
    # === routes of the operators' own ===
    Row(
        "own-routes",
        {"a": "base dev", "b": "base v2 dev", "c": "base dev"},
        {"": "base v2 base", "env=dev": "dev dev dev"},
        more=OWN_ROUTES,
    ),
    Row(
        "own-routes-strict",
        {"a": "base dev", "b": "base v2", "c": "base dev"},
        {"": "base v2 base", "env=dev": "dev !dev"},
        STRICT,
        more=OWN_ROUTES,
    ),
    Row("plain-routes", EVERYWHERE, IN_DEV, more=PLAIN_ROUTES),
)
