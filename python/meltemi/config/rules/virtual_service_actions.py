"""Istio's rules for what an http route of a `VirtualService` does: headers, retries, redirects,
rewrites, faults, mirrors, CORS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules.meta_router import regular_expression

_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z:@\[\]]+")
_VARIABLE = r"%[A-Z][A-Z0-9_]*(?:\([^)]*\))?(?::[0-9]+)?%"
_HEADER_VALUE = re.compile(rf"(?:[^%]|%%|{_VARIABLE})*", re.DOTALL)
_METHODS = frozenset(
    (
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "CONNECT",
        "OPTIONS",
        "TRACE",
    )
)

RETRY_CONDITIONS = frozenset(
    (
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    )
)
GRPC_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""In the order of their numbers."""
_REDIRECTS = ("uri", "authority", "port", "derivePort", "scheme", "redirectCode", "prefixRewrite")
_NOT_WITHOUT_ROUTE = {"redirect": ("fault", "rewrite"), "directResponse": ("fault", "rewrite")}


def check(route: Place) -> Iterator[Finding]:
    for side in ("request", "response"):
        yield from operations(route["headers"][side])
    for action, others in _NOT_WITHOUT_ROUTE.items():
        for other in others if route[action].there else ():
            if route[other].there:
                yield route[other].error("one-of", f"{action} and {other} exclude each other")
    yield from _retries(route["retries"])
    yield from _redirect(route["redirect"])
    yield from _direct_response(route["directResponse"])
    yield from _rewrite(route["rewrite"])
    yield from _fault(route["fault"])
    yield from _mirrors(route)
    yield from _cors(route["corsPolicy"])


def operations(changes: Place) -> Iterator[Finding]:
    """`set`, `add` and `remove` of one direction."""
    for field in ("set", "add"):
        for name, value in changes[field].entries:
            yield from header_name(name, value)
            if not _HEADER_VALUE.fullmatch(value.text):
                yield value.error(
                    "bad-value", f"{value.text!r} has a % that begins no variable", "%% is a %"
                )
    for name_place in changes["remove"].items:
        yield from header_name(name_place.text, name_place)


def header_name(name: str, place: Place) -> Iterator[Finding]:
    """What is wrong with it, at `place`."""
    if not name:
        yield place.error("missing-field", "the name of the header is empty")
    elif not _NAME.fullmatch(name):
        yield place.error("bad-value", f"{name!r} is not the name of a header")


def _retries(retries: Place) -> Iterator[Finding]:
    attempts = retries["attempts"]
    if attempts.number < 0:
        yield attempts.error("bad-value", f"attempts is {attempts.value}, want 0 or more")
    said = any(retries[field].value for field in ("perTryTimeout", "retryOn", "backoff"))
    if retries.there and not attempts.number and said:
        yield attempts.error(
            "bad-value", "there is a retry policy, and attempts are 0", "attempts: 2"
        )
    conditions = retries["retryOn"]
    for part in conditions.text.split(",") if conditions.text else ():
        name = part.strip()
        if name not in RETRY_CONDITIONS and not re.fullmatch(r"[1-5][0-9][0-9]", name):
            yield conditions.error(
                "bad-value", f"{name!r} is no condition to retry on",
                f"of {', '.join(sorted(RETRY_CONDITIONS))}, or an HTTP status",
            )  # fmt: skip


def _redirect(redirect: Place) -> Iterator[Finding]:
    if not redirect.there:
        return
    if not any(redirect[field].value for field in _REDIRECTS):
        yield redirect.error("missing-field", "the redirect goes nowhere", "uri, authority, …")
    if redirect["uri"].text and redirect["prefixRewrite"].text:
        yield redirect["prefixRewrite"].error("one-of", "uri and prefixRewrite exclude each other")
    if redirect["port"].there and redirect["derivePort"].there:
        yield redirect["derivePort"].error("one-of", "port and derivePort exclude each other")
    code = redirect["redirectCode"]
    if code.number and not 300 <= code.number <= 399:
        yield code.error("bad-value", f"{code.value} is no code of a redirect", "300 to 399")
    scheme = redirect["scheme"]
    if scheme.text not in ("", "http", "https"):
        yield scheme.error("bad-value", f"{scheme.text!r} is no scheme", "http or https")


def _direct_response(response: Place) -> Iterator[Finding]:
    status = response["status"]
    if status.there and not 200 <= status.number <= 599:
        yield status.error("bad-value", f"{status.value} is no status", "200 to 599")
    body = response["body"]
    if body["string"].there and body["bytes"].there:
        yield body["bytes"].error("one-of", "string and bytes exclude each other")


def _rewrite(rewrite: Place) -> Iterator[Finding]:
    if not rewrite.there:
        return
    regex = rewrite["uriRegexRewrite"]
    if not (rewrite["uri"].text or rewrite["authority"].text or regex.there):
        yield rewrite.error(
            "missing-field", "the rewrite changes nothing", "uri, uriRegexRewrite or authority"
        )
    if rewrite["uri"].text and regex.there:
        yield regex.error("one-of", "uri and uriRegexRewrite exclude each other")
    for field in ("match", "rewrite") if regex.there else ():
        if not regex[field].text:
            yield regex[field].error("missing-field", f"{field} is missing")
    if regex["match"].text:
        yield from regular_expression(regex["match"])


def _fault(fault: Place) -> Iterator[Finding]:
    if not fault.there:
        return
    delay, abort = fault["delay"], fault["abort"]
    if not (delay.there or abort.there):
        yield fault.error("missing-field", "the fault does nothing", "delay or abort")
    for each in (delay, abort):
        yield from _percentage(each["percentage"])
    if delay.there and not (delay["fixedDelay"].there or delay["exponentialDelay"].there):
        yield delay.warning("no-effect", "the delay says no time", "fixedDelay: 3s")
    kinds = [kind for kind in ("httpStatus", "grpcStatus", "http2Error") if abort[kind].there]
    if abort.there and not kinds:
        yield abort.error("missing-field", "the abort says no status", "httpStatus: 503")
    elif len(kinds) > 1:
        yield abort[kinds[1]].error("one-of", f"{' and '.join(kinds)} exclude each other")
    status, grpc = abort["httpStatus"], abort["grpcStatus"]
    if status.there and not 200 <= status.number <= 599:
        yield status.error("bad-value", f"{status.value} is no status", "200 to 599")
    if grpc.there and grpc.text not in GRPC_STATUS:
        yield grpc.error("bad-value", f"{grpc.text!r} is no status of gRPC", "such as UNAVAILABLE")
    if abort["http2Error"].there:
        yield abort["http2Error"].error("bad-value", "http2Error is not for use", "httpStatus")


def _mirrors(route: Place) -> Iterator[Finding]:
    if route["mirror"].there and route["mirrors"].value:
        yield route["mirrors"].error("one-of", "mirror and mirrors exclude each other")
    if route["mirrorPercent"].number > 100:
        yield route["mirrorPercent"].error("bad-value", "a percentage is at most 100")
    yield from _percentage(route["mirrorPercentage"])
    for mirror in route["mirrors"].items:
        yield from _percentage(mirror["percentage"])


def _percentage(percentage: Place) -> Iterator[Finding]:
    if not 0 <= percentage["value"].number <= 100:
        yield percentage["value"].error("bad-value", "a percentage is from 0 to 100")


def _cors(cors: Place) -> Iterator[Finding]:
    for origin in cors["allowOrigins"].items:
        for kind in ("exact", "prefix", "regex"):
            if origin[kind].value == "":
                yield origin[kind].error("bad-value", f"{kind} is empty", "such as https://a.b")
            elif kind == "regex" and origin[kind].text:
                yield from regular_expression(origin[kind])
    for method in cors["allowMethods"].items:
        if method.text not in _METHODS and method.text != "*":
            yield method.error("bad-value", f"{method.text!r} is no method of HTTP")
    for field in ("allowHeaders", "exposeHeaders"):
        for name in cors[field].items:
            yield from header_name(name.text, name)
