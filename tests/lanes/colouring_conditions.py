"""Cases of one condition each: it holds for the first request and not for the second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from colouring_case import MARK, Case, Headers, books

_UID = "headers: {{uid: {}}}"
_COOKIE = "cookies: {{beta: {}}}"
_QUERY = "queryParams: {{q: {}}}"
_TWO_QUERIES = "queryParams: {q: {exact: a}, r: {exact: b}}"

_OF_HEADERS: Final[tuple[tuple[str, str, Headers, Headers], ...]] = (
    # what, entry, headers that fulfil it, headers that do not
    ("header exact", _UID.format("{exact: '100'}"), [("uid", "100")], [("uid", "1000")]),
    ("header exact in case", _UID.format("{exact: Ab}"), [("uid", "Ab")], [("uid", "ab")]),
    ("header name in odd case", "headers: {UiD: {exact: a}}", [("uID", "a")], [("uid2", "a")]),
    ("header prefix", _UID.format("{prefix: a-}"), [("uid", "a-1")], [("uid", "b-a-1")]),
    ("header regex", _UID.format("{regex: '[0-9]+'}"), [("uid", "123")], [("uid", "123a")]),
    ("header regex at its end", _UID.format("{regex: '[0-9]+'}"), [("uid", "1")], [("uid", "a1")]),
    ("header regex of two", _UID.format("{regex: 'a|b'}"), [("uid", "b")], [("uid", "ab")]),
    ("header regex with a flag", _UID.format("{regex: '(?i)abc'}"), [("uid", "AbC")], []),
    ("header regex of classes", _UID.format("{regex: '[[:alpha:]]+'}"), [("uid", "a")],
     [("uid", ":")]),
    ("header regex in the way", _UID.format("{regex: '(a+)+b'}"), [("uid", "aab")],
     [("uid", "a" * 60)]),
    ("header present", _UID.format("{}"), [("uid", "any")], [("other", "any")]),
    ("header present and empty", _UID.format("{}"), [("uid", "")], []),
    ("header of another name", _UID.format("{exact: a}"), [("uid", "a")], [("uid-x", "a")]),
    ("header with two values", _UID.format("{exact: 'a,b'}"), [("uid", "a"), ("uid", "b")],
     [("uid", "b"), ("uid", "a")]),
    ("header with two values is not the first", _UID.format("{exact: a}"), [("uid", "a")],
     [("uid", "a"), ("uid", "b")]),
    ("header value with quotes", _UID.format("""{exact: "a'b]]\\\\\\"c"}"""),
     [("uid", "a'b]]\\\"c")], [("uid", "a'b]]")]),
    ("header value of UTF-8", _UID.format("{exact: Zoë}"), [("uid", "Zo\xc3\xab")],
     [("uid", "Zo\xeb")]),
    ("two headers", "headers: {uid: {exact: a}, team: {exact: b}}", [("uid", "a"), ("team", "b")],
     [("uid", "a")]),
    ("cookie exact", _COOKIE.format("{exact: 'on'}"), [("cookie", "beta=on")],
     [("cookie", "beta=one")]),
    ("cookie among others", _COOKIE.format("{exact: 'on'}"), [("cookie", "a=b; beta=on; c=d")],
     [("cookie", "a=b; xbeta=on; c=d")]),
    ("cookie without blanks", _COOKIE.format("{exact: 'on'}"), [("cookie", "a=b;beta=on;c=d")],
     [("cookie", "a=b,beta=on")]),
    ("cookie with blanks", _COOKIE.format("{exact: 'on'}"), [("cookie", "a=b ; \tbeta = on ;c=d")],
     []),
    ("cookie twice is the first", _COOKIE.format("{exact: 'on'}"),
     [("cookie", "beta=on; beta=off")], [("cookie", "beta=off; beta=on")]),
    ("cookie in case", _COOKIE.format("{exact: 'on'}"), [("cookie", "BETA=off; beta=on")],
     [("cookie", "Beta=on")]),
    ("cookie with an equals sign", _COOKIE.format("{exact: 'a=b='}"), [("cookie", "beta=a=b=")],
     [("cookie", "beta=a")]),
    ("cookie with quotes", _COOKIE.format("""{exact: '"on"'}"""), [("cookie", 'beta="on"')],
     [("cookie", "beta=on")]),
    ("cookie prefix", _COOKIE.format("{prefix: o}"), [("cookie", "beta=on")],
     [("cookie", "beta=no")]),
    ("cookie regex", _COOKIE.format("{regex: 'o[nf]+'}"), [("cookie", "beta=off")],
     [("cookie", "beta=of_")]),
    ("cookie present", _COOKIE.format("{}"), [("cookie", "beta=")], [("cookie", "beta; gamma=1")]),
    ("header and cookie", "headers: {uid: {exact: a}}, cookies: {beta: {exact: b}}",
     [("uid", "a"), ("cookie", "beta=b")], [("uid", "a"), ("cookie", "beta=c")]),
)  # fmt: skip

_OF_PATHS: Final = (
    ("query exact", _QUERY.format("{exact: a}"), "/?q=a", "/?q=ab"),
    ("query among others", _QUERY.format("{exact: a}"), "/?p=1&q=a&r=2", "/?p=q=a"),
    ("query twice is the first", _QUERY.format("{exact: a}"), "/?q=a&q=b", "/?q=b&q=a"),
    ("query is not decoded", _QUERY.format("{exact: a%20b}"), "/?q=a%20b", "/?q=a+b"),
    ("query name is not decoded", _QUERY.format("{exact: a}"), "/?q=a", "/?%71=a"),
    ("query in case", _QUERY.format("{exact: a}"), "/?Q=b&q=a", "/?Q=a"),
    ("query prefix", _QUERY.format("{prefix: a}"), "/?q=ab", "/?q=ba"),
    ("query regex", _QUERY.format("{regex: 'a+'}"), "/?q=aa", "/?q=aab"),
    ("query present", _QUERY.format("{}"), "/?q=", "/?p=q"),
    ("query present without a value", _QUERY.format("{}"), "/?q", "/?"),
    ("query with an equals sign", _QUERY.format("{exact: 'a=b'}"), "/?q=a=b", "/?q=a"),
    ("query with a question mark", _QUERY.format("{exact: 'a?b'}"), "/?q=a?b", "/?p?q=a?b"),
    ("two queries", _TWO_QUERIES, "/?q=a&r=b", "/?q=a"),
    ("no query", _QUERY.format("{exact: a}"), "/?q=a", "/q=a"),
    ("uri exact", "uri: {exact: /a/b}", "/a/b", "/a/b/c"),
    ("uri exact beside a query", "uri: {exact: /a/b}", "/a/b?c=d", "/a?/b"),
    ("uri in case", "uri: {exact: /a}", "/a", "/A"),
    ("uri is not decoded", "uri: {exact: /a%20b}", "/a%20b", "/a"),
    ("uri prefix", "uri: {prefix: /api/}", "/api/v1", "/apiv1"),
    ("uri prefix of text", "uri: {prefix: /api}", "/apiv1", "/v1/api"),
    ("uri regex", "uri: {regex: '/v[0-9]+/.*'}", "/v12/books?a", "/v/books"),
    ("uri regex of its whole", "uri: {regex: '/v[0-9]'}", "/v1?a=b", "/v12"),
)  # fmt: skip

_OF_METHODS: Final = (
    ("method exact", "method: {exact: POST}", "POST", "PUT"),
    ("method prefix", "method: {prefix: P}", "PUT", "GET"),
    ("method regex", "method: {regex: 'PUT|POST'}", "POST", "GET"),
)

_OF_SOURCES: Final = (
    ("source address", "sourceAddresses: [127.0.3.4]", "127.0.3.4", "127.0.3.5"),
    ("source network", "sourceAddresses: [127.0.3.0/24]", "127.0.3.255", "127.0.4.0"),
    ("source in one of two", "sourceAddresses: [127.0.3.0/24, 127.0.5.0/25]", "127.0.5.127",
     "127.0.5.128"),
    ("source of IPv6", "sourceAddresses: ['::1', 'fd00::/8']", "::1", "127.0.0.1"),
    ("source of any IPv4", "sourceAddresses: [0.0.0.0/0]", "127.0.0.1", "::1"),
    ("source of any IPv6", "sourceAddresses: ['::/0']", "::1", "127.0.0.1"),
)  # fmt: skip


def conditions() -> Iterator[Case]:
    for what, entry, good, bad in _OF_HEADERS:
        once = frozenset[str]() if len(dict(good)) == len(good) else frozenset(("wsgi",))
        text = books(f"{{{entry}}}")
        yield Case(what, text, good, [*good, MARK], not_by=once)
        yield Case(f"not: {what}", text, bad, bad, not_by=once)
    for what, entry, there, elsewhere in _OF_PATHS:
        text = books(f"{{{entry}}}")
        yield Case(what, text, [], [MARK], path=there)
        yield Case(f"not: {what}", text, [], [], path=elsewhere)
    for what, entry, named, other in _OF_METHODS:
        text = books(f"{{{entry}}}")
        yield Case(what, text, [], [MARK], method=named)
        yield Case(f"not: {what}", text, [], [], method=other)
    for what, entry, near, far in _OF_SOURCES:
        text = books(f"{{{entry}}}")
        yield Case(what, text, [], [MARK], source=near)
        yield Case(f"not: {what}", text, [], [], source=far)
