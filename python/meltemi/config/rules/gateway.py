"""Istio's rules for `Gateway` (ValidateGateway), and which of its servers are not opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meltemi.config.issues import Finding
from meltemi.config.place import Place
from meltemi.config.rules import names

HTTP: Final = names.HTTP_PROTOCOLS
NOT_OPENED: Final = "not-there-yet"

_OWN_CERTIFICATES: Final = ("serverCertificate", "privateKey", "caCertificates")
_CREDENTIALS: Final = ("credentialName", "credentialNames", "tlsCertificates")
_UNIX: Final = "unix://"


def check(spec: Place, namespace: str) -> Iterator[Finding]:
    if not spec["servers"].value:
        yield spec["servers"].error(
            "missing-field", "a gateway has one server at least", "servers: [{port: …, hosts: …}]"
        )
    yield from names.metadata_labels(spec["selector"])
    seen: set[str] = set()
    for server in spec["servers"].items:
        yield from _server(server)
        name = server["port"]["name"]
        if name.text and name.text in seen:
            yield name.error("duplicate-port", f"the port name {name.text!r} is there twice")
        seen.add(name.text)


def _server(server: Place) -> Iterator[Finding]:
    hosts, port = server["hosts"], server["port"]
    if hosts.there and not hosts.value:
        yield hosts.error("missing-field", "a server has one host at least", 'hosts: ["*"]')
    for host in hosts.items:
        yield from _host(host)
    bind = server["bind"].text
    if bind and not bind.startswith(_UNIX) and not names.is_address(bind):
        yield server["bind"].error("bad-value", f"{bind!r} is neither an address nor a Unix socket")
    number = port["number"]
    if number.there and not 0 < number.number < 65_536 and not bind.startswith(_UNIX):
        yield number.error("bad-value", f"{number.value} is no port")
    if port["name"].value == "":
        yield port["name"].error("missing-field", "the name of the port is empty", "name: http")
    protocol = port["protocol"].text.lower()
    if port["protocol"].text and protocol not in names.PROTOCOLS - {"udp", "mysql"}:
        yield port["protocol"].error(
            "bad-value", f"{port['protocol'].text!r} is no protocol of a gateway", "protocol: HTTP"
        )
        return
    yield from _tls(server, protocol)


def _host(host: Place) -> Iterator[Finding]:
    """`HOST`, or `NAMESPACE/HOST` of which the first may be `*`, `.` or `~`."""
    namespace, slash, name = host.text.rpartition("/")
    if slash and namespace not in ("*", ".", "~") and not names.is_label(namespace):
        yield host.error(
            "invalid-host", f"{host.text!r}: {namespace!r} is not a namespace", '"*/example.com"'
        )
    elif name != "*" and not names.is_address(name):
        wrong = names.wildcard_host_error(name)
        if wrong:
            yield host.error(
                "invalid-host", wrong, "a name, a wildcard such as *.example.com, or *"
            )


def _tls(server: Place, protocol: str) -> Iterator[Finding]:
    tls, port = server["tls"], server["port"]["protocol"]
    written = port.text
    if protocol in names.TLS_PROTOCOLS and not tls.there:
        yield port.error("missing-field", f"a server of {written} needs tls", "tls: {mode: SIMPLE}")
    elif protocol in HTTP and tls.there and (asked := _more_than_redirect(tls)):
        yield tls.error(
            "one-of", f"{asked} does not go with protocol {written}, which is plain text",
            "protocol: HTTPS, or tls: {httpsRedirect: true}",
        )  # fmt: skip
    elif protocol not in HTTP | names.TLS_PROTOCOLS and tls.there:
        yield tls.error("one-of", f"tls does not go with protocol {written}", "protocol: TLS")
    elif tls["httpsRedirect"].true and protocol not in HTTP:
        yield tls["httpsRedirect"].warning(
            "no-effect", f"httpsRedirect does not go with protocol {written}", "protocol: HTTP"
        )
    if protocol in names.TLS_PROTOCOLS and tls.there:
        yield from _certificates(tls)
    if why := refusal(protocol):
        yield port.warning(NOT_OPENED, why, "the port is not opened; protocol: HTTP is")


def refusal(protocol: str) -> str:
    """Why a port of this protocol, in lower case, is not opened, or ""."""
    if protocol in HTTP:
        return ""
    return f"a gateway's server of protocol {protocol.upper()} is not there yet"


def _more_than_redirect(tls: Place) -> str:
    """A field that asks for TLS itself, or ""."""
    if tls["mode"].text not in ("", "PASSTHROUGH"):  # the mode's zero value
        return "tls.mode"
    fields = (*_OWN_CERTIFICATES, *_CREDENTIALS)
    return next((f"tls.{field}" for field in fields if tls[field].value), "")


def _certificates(tls: Place) -> Iterator[Finding]:
    mode = tls["mode"].text or "PASSTHROUGH"
    own = [field for field in _OWN_CERTIFICATES if tls[field].value]
    if mode == "ISTIO_MUTUAL" and own:
        for field in own:
            yield tls[field].error("one-of", f"mode ISTIO_MUTUAL takes no {field}", "leave it out")
        return
    if any(tls[field].value for field in _CREDENTIALS):
        return
    if mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        for field in _OWN_CERTIFICATES[: 2 if mode == "SIMPLE" else 3]:
            if field not in own:
                yield tls.error(
                    "missing-field", f"mode {mode} needs {field}", "or credentialName: …"
                )
