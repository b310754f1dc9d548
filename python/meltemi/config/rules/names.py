"""Names of hosts, labels, ports and addresses: what Kubernetes and Istio let them be.

Each function but `full_host` returns what is wrong, or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from meltemi.config.issues import Finding
from meltemi.config.place import Place

_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_WILDCARD_LABEL = re.compile(rf"\*|(?:\*|\*-)?{_LABEL}")
_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_KEY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*/)?({_QUALIFIED})")
_LABEL_VALUE = re.compile(rf"(?:{_QUALIFIED})?")
_ALL_DIGITS = re.compile(r"[-+]?[0-9]+")  # what Go's Atoi reads
_RFC1123 = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_RFC1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")

LONGEST_LABEL = 63
LONGEST_HOST = 255
LONGEST_NAME = 253

HTTP_PROTOCOLS = frozenset(("http", "http2", "http_proxy", "grpc", "grpc-web"))
TLS_PROTOCOLS = frozenset(("https", "tls"))
PROTOCOLS = HTTP_PROTOCOLS | TLS_PROTOCOLS | {
    "tcp", "udp", "mongo", "redis", "mysql", "hbone",
}  # fmt: skip


def is_label(text: str) -> bool:
    """A DNS label as Istio takes it: upper case too."""
    return len(text) <= LONGEST_LABEL and _DNS_LABEL.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """The name part of a label's key."""
    return len(text) <= LONGEST_LABEL and re.fullmatch(_QUALIFIED, text) is not None


def label_error(text: str) -> str | None:
    """Kubernetes' RFC 1123 label: names of namespaces and workloads."""
    if len(text) > LONGEST_LABEL:
        return f"{text!r} has more than {LONGEST_LABEL} characters"
    return None if _RFC1123.fullmatch(text) else f"{text!r} is not a name of a-z, 0-9 and '-'"


def subdomain_error(text: str) -> str | None:
    """Kubernetes' RFC 1123 subdomain: names of objects."""
    if len(text) > LONGEST_NAME:
        return f"{text!r} has more than {LONGEST_NAME} characters"
    if all(_RFC1123.fullmatch(part) for part in text.split(".")):
        return None
    return f"{text!r} is not a name of a-z, 0-9, '-' and '.'"


def service_name_error(text: str) -> str | None:
    """Kubernetes' RFC 1035 label: names of Services."""
    if len(text) > LONGEST_LABEL:
        return f"{text!r} has more than {LONGEST_LABEL} characters"
    if _RFC1035.fullmatch(text):
        return None
    return f"{text!r} is not a name of a-z, 0-9 and '-' that begins with a letter"


def host_error(host: str) -> str | None:
    """Istio's ValidateFQDN; a name of one label is one too."""
    return _length_error(host) or _labels_error(host, host)


def wildcard_host_error(host: str) -> str | None:
    """Istio's ValidateWildcardDomain: a `*` may begin the first label."""
    wrong = _length_error(host)
    if wrong:
        return wrong
    first, dot, rest = host.partition(".")
    if len(first) > LONGEST_LABEL or not _WILDCARD_LABEL.fullmatch(first):
        return f"{host!r} is no host name: {first!r} is not a label"
    return _labels_error(host, rest) if dot else None


def full_host(host: str, namespace: str) -> str:
    """Istio's reading of a host in a rule: a name without a dot is a service of the rule's own
    namespace."""
    host = host.lower().removesuffix(".")
    return host if "." in host or "*" in host else f"{host}.{namespace}.svc.cluster.local"


def _length_error(host: str) -> str | None:
    if not host:
        return "the host name is empty"
    if len(host) > LONGEST_HOST:
        return f"the host name has more than {LONGEST_HOST} characters"
    return None


def _labels_error(host: str, domain: str) -> str | None:
    labels = domain.split(".")
    if _ALL_DIGITS.fullmatch(labels[-1]):
        return f"{host!r} is no host name: it ends in a number"
    if labels[-1] == "":
        labels.pop()
    for label in labels:
        if not is_label(label):
            return f"{host!r} is no host name: {label!r} is not a label"
    return None


def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_subnet(text: str) -> bool:
    """An address, or one with the length of its prefix; host bits may be set."""
    if text.count("/") != 1:
        return is_address(text)
    _, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit()) or (length[0] == "0" and length != "0"):
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "%" not in text


def labels(place: Place) -> Iterator[Finding]:
    """Istio's rules for the labels of endpoints and subsets."""
    for key, value in place.entries:
        parts = _LABEL_KEY.fullmatch(key)
        if parts is None or len(parts[1] or "") > LONGEST_LABEL + 1:
            yield value.error("invalid-label", f"{key!r} is not the key of a label")
        elif len(parts[2]) > LONGEST_LABEL:
            yield value.error(
                "invalid-label", f"the key {key!r} has more than {LONGEST_LABEL} characters"
            )
        if not isinstance(value.value, str):
            continue
        if len(value.text) > LONGEST_LABEL or not _LABEL_VALUE.fullmatch(value.text):
            yield value.error(
                "invalid-label",
                f"{value.text!r} is not the value of a label",
                f"letters, digits, '-', '_' and '.', at most {LONGEST_LABEL}",
            )


def metadata_labels(place: Place) -> Iterator[Finding]:
    """Kubernetes' rules for `metadata.labels`: the prefix may be longer."""
    for key, value in place.entries:
        prefix, slash, name = key.rpartition("/")
        good = _LABEL_KEY.fullmatch(name) and len(name) <= LONGEST_LABEL
        if not good or (slash and subdomain_error(prefix) is not None):
            yield value.error("invalid-label", f"{key!r} is not the key of a label")
        text = value.text
        if len(text) > LONGEST_LABEL or not _LABEL_VALUE.fullmatch(text):
            yield value.error(
                "invalid-label",
                f"{text!r} is not the value of a label",
                f"letters, digits, '-', '_' and '.', at most {LONGEST_LABEL}",
            )


def export_to(
    place: Place, namespace: str, *, service_entry: bool = False, selects: bool = False
) -> Iterator[Finding]:
    """Istio's rules for `exportTo`; `selects`: the rule has a workload selector."""
    seen: set[str] = set()
    for item in place.items:
        text = item.text
        name = namespace if text == "." else text
        if name in seen:
            yield item.error("duplicate-value", f"{text!r} says again what is there already")
        elif text == "~" and not service_entry:
            yield item.error("invalid-export", "'~' (nobody) is for a ServiceEntry only")
        elif text in ("*", "~") or is_label(name):
            seen.add(name)
        else:
            yield item.error(
                "invalid-export", f"{text!r} is not a namespace", "a namespace, '.' or '*'"
            )
    if not seen:
        return
    if selects and seen != {namespace}:
        yield place.error(
            "invalid-export",
            "a rule with a workloadSelector is for its own namespace only",
            "write exportTo: ['.'] or leave it out",
        )
    alone = {"*": "everybody", "~": "nobody"}
    for sign in ("*", "~"):
        if sign in seen and len(list(place.items)) > 1:
            yield place.error("invalid-export", f"{sign!r} ({alone[sign]}) goes with nothing else")
