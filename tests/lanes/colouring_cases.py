"""Requests at the edge, and what colouring makes of their headers: one table for all who colour.

Held against it: the evaluator, the ASGI and the WSGI middleware, and a stock Envoy. A case is plain
data. Whoever shows it sends `before`, and compares `by_name` of what the application got, for the
names in `before`, `after` and `baggage`, with `by_name(case.after)`.

Who is in `case.not_by` cannot show it: servers decide some things before an application sees the
request. Whoever folds `_` into `-` in names, as WSGI does, folds those of both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from colouring_case import (
    MARK,
    STRANGER,
    TRUSTED,
    Case,
    Headers,
    books,
    by_name,
    group,
    lane,
    lane_groups,
)
from colouring_conditions import conditions

__all__ = ["CASES", "FIRST_KEYS", "FIRST_SOURCES", "Case", "by_name", "lane_groups"]

# === several conditions, entries, lanes, groups ===

_ALL = books(
    "{headers: {uid: {exact: '1'}}, cookies: {beta: {exact: b}}, queryParams: {q: {exact: c}},"
    " uri: {prefix: /a}, method: {exact: POST}, sourceAddresses: [127.0.3.0/24]}"
)
_FULFILLED: Final = [("uid", "1"), ("cookie", "beta=b")]
_ANY = books("{headers: {uid: {exact: '1'}}}, {cookies: {beta: {exact: b}}}, {uri: {exact: /c}}")
_BOTH = "{headers: {uid: {}}}"
_TWO_LANES = group() + lane(_BOTH, name="green") + lane(_BOTH, name="blue")
_PRIORITY = group() + lane(_BOTH, name="blue") + lane(_BOTH, "priority: 1", name="green")
_SECOND = group() + lane("{headers: {uid: {exact: a}}}", "priority: 9", name="first") + lane(_BOTH)
_OFF = group() + lane(_BOTH, "enabled: false, priority: 9", name="gone") + lane(_BOTH)
_TWO_GROUPS = (
    group(name="books") + lane("{headers: {uid: {}}}")
    + group(name="games", key="play") + lane("{headers: {team: {}}}", name="blue", of="games")
)  # fmt: skip
_ONE_KEY = (
    group(name="books") + lane("{headers: {uid: {}}}")
    + group(name="games", key="ENV") + lane("{headers: {team: {}}}", name="blue", of="games")
)  # fmt: skip


def _together() -> Iterator[Case]:
    here = {"method": "POST", "path": "/a?q=c", "source": "127.0.3.1"}

    def all_of(name: str, before: Headers, after: Headers, **change: str) -> Case:
        found = here | change
        return Case(name, _ALL, before, after, found["method"], found["path"], found["source"])

    yield all_of("all conditions", _FULFILLED, [*_FULFILLED, MARK])
    yield all_of("all but the header", _FULFILLED[1:], _FULFILLED[1:])
    yield all_of("all but the cookie", _FULFILLED[:1], _FULFILLED[:1])
    yield all_of("all but the query", _FULFILLED, _FULFILLED, path="/a?q=d")
    yield all_of("all but the path", _FULFILLED, _FULFILLED, path="/b?q=c")
    yield all_of("all but the method", _FULFILLED, _FULFILLED, method="PUT")
    yield all_of("all but the source", _FULFILLED, _FULFILLED, source=STRANGER)
    yield Case("any: first", _ANY, [("uid", "1")], [("uid", "1"), MARK])
    yield Case("any: second", _ANY, [("cookie", "beta=b")], [("cookie", "beta=b"), MARK])
    yield Case("any: last", _ANY, [], [MARK], path="/c")
    yield Case("any: none", _ANY, [("uid", "2")], [("uid", "2")])
    uid = [("uid", "b")]
    yield Case("no entry", books(), uid, uid)
    yield Case("two lanes by name", _TWO_LANES, uid, [*uid, ("baggage", "env=blue")])
    yield Case("two lanes by priority", _PRIORITY, uid, [*uid, ("baggage", "env=green")])
    yield Case("the first lane does not want it", _SECOND, uid, [*uid, MARK])
    yield Case("a lane that is off", _OFF, uid, [*uid, MARK])
    both = [("uid", "a"), ("team", "b")]
    yield Case("two groups", _TWO_GROUPS, both, [*both, ("baggage", "env=dev,play=blue")])
    yield Case("the second of two groups", _TWO_GROUPS, both[1:],
               [*both[1:], ("baggage", "play=blue")])  # fmt: skip
    yield Case("two groups, one key: the first one's", _ONE_KEY, both, [*both, MARK])
    yield Case("two groups, one key: the other's", _ONE_KEY, both[1:],
               [*both[1:], ("baggage", "ENV=blue")])  # fmt: skip


# === the mark is appended ===

_EVERY = books("{percentage: {value: 100}}")
_NONE = books("{percentage: {value: 0}}")
_KEPT: Final = (
    # what was there, and stays byte for byte
    ("a member", "a=1"),
    ("properties", "a=1;p;q=2 ; r = 3"),
    ("blanks", "a = 1 ,\tb=2"),
    ("odd case", "A=1,eNv2=dev"),
    ("percent-encoding", "a=%65nv%3Ddev%2Cenv,%61=b"),
    ("a longer key", "environment=dev,xenv=dev,env-x=1"),
    ("the mark as a value", "a=env=dev"),
    ("the mark as a property", "a=1;env=dev"),
    ("what is malformed", "a,=b,c;=,?"),
    ("empty members", "a=1,,b=2"),
)
_MANY: Final = ",".join(f"k{number}=v" for number in range(179))
_LONG: Final = "a=" + "v" * (8192 - len("a=") - len(",env=dev"))


def _appended() -> Iterator[Case]:
    for what, text in _KEPT:
        kept = [("baggage", text)]
        yield Case(f"beside {what}", _EVERY, kept, [("baggage", f"{text},env=dev")])
        yield Case(f"not coloured: {what}", _NONE, kept, kept)
    yield Case("no baggage", _EVERY, [], [MARK])
    yield Case("nobody is in no percent", _NONE, [], [])
    yield Case("empty baggage", _EVERY, [("baggage", "")], [MARK])
    yield Case("a comma at the end", _EVERY, [("baggage", "a=1,")], [("baggage", "a=1,env=dev")])
    yield Case("behind the last of several", _EVERY, [("baggage", "a=1"), ("Baggage", "b=2")],
               [("baggage", "a=1"), ("baggage", "b=2,env=dev")])  # fmt: skip
    yield Case("the last member that fits", _EVERY, [("baggage", _MANY)],
               [("baggage", f"{_MANY},env=dev")])  # fmt: skip
    full = [("baggage", f"{_MANY},k=v")]
    yield Case("no place for a member", _EVERY, full, full)
    halves = [("baggage", _MANY), ("baggage", "k=v")]
    yield Case("no place for a member behind two headers", _EVERY, halves, halves)
    yield Case("the last byte that fits", _EVERY, [("baggage", _LONG)],
               [("baggage", f"{_LONG},env=dev")])  # fmt: skip
    full = [("baggage", f"{_LONG}v")]
    yield Case("no place for a byte", _EVERY, full, full)
    yield Case("what was stripped makes place", _EVERY, [("baggage", f"{_MANY},env=x")],
               [("baggage", f"{_MANY},env=dev")])  # fmt: skip


# === marks of strangers are stripped ===

_NOBODY = books()
_STRIPPED: Final = (
    # baggage of a stranger, and what is left of it
    ("alone", "env=dev", None),
    ("first", "env=dev,a=1", "a=1"),
    ("last", "a=1,env=dev", "a=1"),
    ("between", "a=1,env=dev,b=2", "a=1,b=2"),
    ("twice", "env=dev,a=1,env=blue", "a=1"),
    ("of no lane", "env=unknown", None),
    ("in odd case", "ENV=dev,eNv=dev", None),
    ("with blanks", " env\t= dev ,a=1", "a=1"),
    ("with blanks around others", "a = 1 ;p=2 , env=dev ,b=2", "a = 1 ;p=2 ,b=2"),
    ("with properties", "env=dev;p=1;q,a=1;env=dev", "a=1;env=dev"),
    ("key percent-encoded", "%65nv=dev,e%6Ev=dev,%65%6e%76=dev,%45NV=dev", None),
    ("key with encoded blanks", "%20env=dev,env%09=dev,+env=dev,env+=dev,%C2%A0env=dev", None),
    ("value percent-encoded", "env=%64ev", None),
    ("without a value", "env", None),
    ("with an empty value", "env=", None),
    ("without a value but properties", "env;p=1,a=2", "a=2"),
    ("malformed", "env=dev=1,env==,env=d e v", None),
    ("between empty members", ",env=dev,,a=1", ",,a=1"),
    ("nothing else", ",env=dev, ,", None),
    ("encoded twice is another key", "%2565nv=dev", "%2565nv=dev"),
    ("beyond the members that count", f"{_MANY},k=v,env=dev", f"{_MANY},k=v"),
    ("beyond the bytes that count", f"{_LONG}vvv,env=dev", f"{_LONG}vvv"),
)
_OTHER_PLACES: Final = (
    "ot-baggage-env", "OT-Baggage-Env", "ot-baggage-%65nv", "uberctx-env", "UberCtx-ENV",
    "rpc-transit-ot-baggage-env", "rpc-persist-ot-baggage-env", "rpc-transit-uberctx-env",
)  # fmt: skip
_METAINFO: Final = (
    "rpc-transit-baggage", "RPC-Transit-Baggage", "rpc-persist-baggage", "RPC-PERSIST-BAGGAGE",
    "rpc-transit-upstream-baggage",
)  # fmt: skip
_FOLDED: Final = (
    "rpc_transit_baggage", "RPC_TRANSIT_baggage", "RPC_PERSIST_baggage", "rpc_persist-baggage",
    "RPC_TRANSIT_UPSTREAM_BAGGAGE",
)  # fmt: skip


def _stripped() -> Iterator[Case]:
    for what, text, left in _STRIPPED:
        after = [] if left is None else [("baggage", left)]
        yield Case(f"mark {what}", _NOBODY, [("baggage", text.strip(" "))], after)
    two = [("baggage", "a=1"), ("BAGGAGE", "env=dev"), ("Baggage", "b=2,env=blue")]
    yield Case("marks in several headers", _NOBODY, two, [("baggage", "a=1"), ("baggage", "b=2")],
               not_by=frozenset(("wsgi",)))  # fmt: skip
    yield Case("a mark in a second header", _NOBODY, [("baggage", "a=1"), ("baggage", "env=dev")],
               [("baggage", "a=1")])  # fmt: skip
    for name in _OTHER_PLACES:
        yield Case(f"mark as {name}", _NOBODY, [(name, "dev"), ("a", "b")], [("a", "b")])
    for name in ("ot-baggage-a", "uberctx-a", "ot-baggage-env-x", "ot-baggage-"):
        kept = [(name, "env=dev")]
        yield Case(f"no mark: {name}", _NOBODY, kept, kept)
    for name in _METAINFO + _FOLDED:
        yield Case(f"mark in {name}", _NOBODY, [(name, "a=1,env=dev")], [(name, "a=1")])
        yield Case(f"mark alone in {name}", _NOBODY, [(name, "%65nv=dev")], [])
    kept = [("rpc-transit-env", "dev"), ("env", "dev"), ("x-baggage", "env=dev")]
    yield Case("what is no baggage", _NOBODY, kept, kept)
    dotted = group(key="my_env.x") + lane(name="dev")
    yield Case("a key with signs", dotted, [("baggage", "my_env.x=dev,myxenv.x=dev,a=1")],
               [("baggage", "myxenv.x=dev,a=1")])  # fmt: skip
    yield Case("a folded key", dotted, [("ot-baggage-my-env.x", "dev"), ("ot-baggage-my", "1")],
               [("ot-baggage-my", "1")])  # fmt: skip
    games = [("baggage", "play=x,a=1,ENV=y")]
    yield Case("marks of two groups", _TWO_GROUPS, games, [("baggage", "a=1")])
    yield Case("stripped, then coloured", _EVERY, [("baggage", "env=blue,a=1")],
               [("baggage", "a=1,env=dev")])  # fmt: skip
    yield Case("stripped whole, then coloured", _EVERY, [("baggage", "env=blue")], [MARK])
    yield Case("conditions see what is left", books("{headers: {baggage: {prefix: env}}}"),
               [("baggage", "env=dev")], [])  # fmt: skip
    yield Case("conditions see other members", books("{headers: {baggage: {exact: a=1}}}"),
               [("baggage", "a=1,env=x")], [("baggage", "a=1,env=dev")])  # fmt: skip
    own = group() + lane("{percentage: {value: 100, by: {baggage: env}}}")
    yield Case("a mark is no key of its own lane", own, [("baggage", "env=dev")], [])


# === who is trusted ===

_TRUSTING = group("edge: {trustedSources: [127.0.9.0/24, '::1']}")
_TRUSTS = _TRUSTING + lane("{percentage: {value: 100}}")
_TRUSTS_ONE = (
    _TRUSTING + lane("{percentage: {value: 100}}")
    + group(name="games", key="play") + lane("{percentage: {value: 100}}", name="blue", of="games")
)  # fmt: skip
_TRUSTS_HALF = (
    _TRUSTING + lane("{percentage: {value: 100}}")
    + group(name="games") + lane("{percentage: {value: 100}}", name="blue", of="games")
)  # fmt: skip


def _trusted() -> Iterator[Case]:
    own = [("baggage", "a=1,env=blue")]
    coloured = [("baggage", "a=1,env=dev")]
    yield Case("a trusted mark", _TRUSTS, own, own, source=TRUSTED)
    yield Case("a trusted mark over IPv6", _TRUSTS, own, own, source="::1")
    yield Case("the network's neighbour", _TRUSTS, own, coloured, source="127.0.8.255")
    yield Case("trusted without a mark", _TRUSTS, [("baggage", "a=1")], coloured, source=TRUSTED)
    odd = [("baggage", "%65NV = blue;p")]
    yield Case("a trusted mark in another form", _TRUSTS, odd, odd, source=TRUSTED)
    for name in ("ot-baggage-env", "rpc-transit-ot-baggage-env"):
        other = [(name, "blue")]
        yield Case(f"a trusted mark as {name}", _TRUSTS, other, other, source=TRUSTED)
    persistent = [("rpc-persist-baggage", "env=blue")]
    yield Case("a trusted mark as metainfo", _TRUSTS, persistent, persistent, source=TRUSTED)
    marks = [("baggage", "env=x,play=x")]
    yield Case("trusted by one of two groups", _TRUSTS_ONE, marks,
               [("baggage", "env=x,play=blue")], source=TRUSTED)  # fmt: skip
    yield Case("trusted by one of two groups with a key", _TRUSTS_HALF, marks,
               [("baggage", "play=x,env=dev")], source=TRUSTED)  # fmt: skip
    forged = [("x-forwarded-for", TRUSTED), ("baggage", "env=x")]
    yield Case("whom a header calls trusted", _TRUSTS, forged, [forged[0], MARK],
               not_by=frozenset(("envoy",)))  # fmt: skip


# === percentages ===

FIRST_KEYS: Final = {
    0: "user-28", 4: "user-114", 5: "user-53", 19: "user-44", 20: "user-73", 49: "user-35",
    50: "user-14", 98: "user-136", 99: "user-231",
}  # fmt: skip
"""A key of each of these buckets: xxHash64 (seed 0) modulo 100."""
FIRST_SOURCES: Final = {0: "127.0.0.13", 4: "127.0.0.122", 5: "127.0.0.173", 99: "127.0.0.65"}


def _by(what: str, percent: int, conditions: str = "") -> str:
    more = f", {conditions}" if conditions else ""
    return books(f"{{percentage: {{value: {percent}, by: {{{what}}}}}{more}}}")


def _shares() -> Iterator[Case]:
    for percent in (0, 1, 5, 20, 50, 99, 100):
        for bucket, key in FIRST_KEYS.items():
            sent = [("x-user", key)]
            after = [*sent, MARK] if bucket < percent else sent
            yield Case(f"bucket {bucket} of {percent} %", _by("header: X-User", percent),
                       sent, after)  # fmt: skip
    for bucket, source in FIRST_SOURCES.items():
        yield Case(f"source in bucket {bucket} of 5 %", _by("sourceAddress: true", 5), [],
                   [MARK] if bucket < 5 else [], source=source)  # fmt: skip
    yield Case("source of IPv6 in 48 %", _by("sourceAddress: true", 48), [], [MARK], source="::1")
    yield Case("source of IPv6 in 47 %", _by("sourceAddress: true", 47), [], [], source="::1")


_INSIDE, _OUTSIDE = FIRST_KEYS[4], FIRST_KEYS[5]


def _keys() -> Iterator[Case]:
    kept: Headers = [("cookie", f"a=b; uid={_INSIDE}; c=d")]
    yield Case("cookie in 5 %", _by("cookie: uid", 5), kept, [*kept, MARK])
    kept = [("cookie", f"a=b; uid={_OUTSIDE}; c=d")]
    yield Case("cookie outside of 5 %", _by("cookie: uid", 5), kept, kept)
    for what, form in (
        ("member", "a=b,uid=u{};p=1,c=d"),
        ("member with blanks", "a=b, uid = u{} ,c=d"),
        ("encoded member", "uid=%75{}"),
        ("last of two members", "uid=x,uid=u{}"),
    ):
        text = form.format(_INSIDE[1:])
        yield Case(f"{what} in 5 %", _by("baggage: uid", 5), [("baggage", text)],
                   [("baggage", f"{text},env=dev")])  # fmt: skip
        text = form.format(_OUTSIDE[1:])
        yield Case(f"{what} outside of 5 %", _by("baggage: uid", 5), [("baggage", text)],
                   [("baggage", text)])  # fmt: skip
    bytes_of_4 = "Zo\xc3\xab 44"
    utf8 = [("x-user", bytes_of_4)]
    yield Case("a key of UTF-8", _by("header: x-user", 5), utf8, [*utf8, MARK])
    yield Case("not: a key of UTF-8", _by("header: x-user", 4), utf8, utf8)
    encoded = [("baggage", "uid=Zo%C3%AB%2044")]
    yield Case("an encoded member of UTF-8", _by("baggage: uid", 5), encoded,
               [("baggage", "uid=Zo%C3%AB%2044,env=dev")])  # fmt: skip
    twice = [("x-user", _INSIDE), ("x-user", _OUTSIDE)]
    yield Case("the first of two headers", _by("header: x-user", 5), twice, [*twice, MARK],
               not_by=frozenset(("wsgi",)))  # fmt: skip
    nothing: tuple[tuple[str, str, Headers], ...] = (
        ("header", "header: x-user", []),
        ("empty header", "header: x-user", [("x-user", "")]),
        ("cookie", "cookie: uid", [("cookie", "a=b")]),
        ("empty cookie", "cookie: uid", [("cookie", "uid=")]),
        ("member", "baggage: uid", [("baggage", "a=b")]),
        ("member in case", "baggage: uid", [("baggage", "UID=a")]),
        ("empty member", "baggage: uid", [("baggage", "uid=")]),
    )
    for what, by, headers in nothing:
        yield Case(f"without a {what} in no share", _by(by, 100), headers, headers)


def _shares_beside() -> Iterator[Case]:
    here = _by("header: x-user", 5, "uri: {prefix: /api}")
    user = [("x-user", _INSIDE)]
    yield Case("a share of some requests", here, user, [*user, MARK], path="/api/a")
    yield Case("not: a share of some requests", here, user, user, path="/")
    two = (
        group() + lane("{percentage: {value: 5, by: {header: x-user}}}", "priority: 1", name="a")
        + lane("{percentage: {value: 20, by: {header: x-user}}}", name="b")
    )  # fmt: skip
    for bucket, mark in ((4, "env=a"), (5, "env=b"), (19, "env=b"), (20, None)):
        user = [("x-user", FIRST_KEYS[bucket])]
        after = [*user, ("baggage", mark)] if mark else user
        yield Case(f"shares of two lanes, bucket {bucket}", two, user, after)


CASES: Final[tuple[Case, ...]] = (
    *conditions(),
    *_together(),
    *_appended(),
    *_stripped(),
    *_trusted(),
    *_shares(),
    *_keys(),
    *_shares_beside(),
)
