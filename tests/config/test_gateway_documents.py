# ruff: noqa: E501 - one case a line
"""Gateways as people write them: what Istio refuses, and what is not opened."""

from __future__ import annotations

import pytest
from conftest import Load, Said
from meltemi import config
from meltemi.model import GatewayServer
from meltemi.model.addresses import Addresses
from meltemi.model.gateway import narrower

HTTP = "port: {number: 80, name: http, protocol: HTTP}"


def gateway(servers: str, selector: str = "{istio: edge}") -> str:
    return f"""
        apiVersion: networking.istio.io/v1
        kind: Gateway
        metadata: {{name: a, namespace: shop}}
        spec: {{selector: {selector}, servers: {servers}}}
        """


@pytest.mark.parametrize(
    ("servers", "wanted"),
    [
        (f"[{{{HTTP}, hosts: ['*']}}]", []),
        (f"[{{{HTTP}, hosts: [a.com, '*.b.com', 'ns/c.com', './d.com', '*/e.com', '~/f.com', 'ns/*']}}]", []),
        (f"[{{{HTTP}, hosts: [a], tls: {{httpsRedirect: true}}}}]", []),
        (f"[{{{HTTP}, hosts: [a], name: first}}]", []),
        ("[{port: {number: 80, name: a, protocol: GRPC-WEB}, hosts: [a]}]", []),
        ("[]", ["error missing-field spec.servers"]),
        (f"[{{{HTTP}, hosts: []}}]", ["error missing-field spec.servers[0].hosts"]),
        (f"[{{{HTTP}}}]", ["error missing-field spec.servers[0].hosts"]),
        ("[{hosts: [a]}]", ["error missing-field spec.servers[0].port"]),
        (f"[{{{HTTP}, hosts: ['a..b']}}]", ["error invalid-host spec.servers[0].hosts[0]"]),
        (f"[{{{HTTP}, hosts: ['n s/a.b']}}]", ["error invalid-host spec.servers[0].hosts[0]"]),
        (f"[{{{HTTP}, hosts: ['a.*.b']}}]", ["error invalid-host spec.servers[0].hosts[0]"]),
        ("[{port: {number: 0, name: a, protocol: HTTP}, hosts: [a]}]", ["error bad-value spec.servers[0].port.number"]),
        ("[{port: {number: 70000, name: a, protocol: HTTP}, hosts: [a]}]", ["error bad-value spec.servers[0].port.number"]),
        ("[{port: {number: 80, name: '', protocol: HTTP}, hosts: [a]}]", ["error missing-field spec.servers[0].port.name"]),
        ("[{port: {number: 80, name: a, protocol: FOO}, hosts: [a]}]", ["error bad-value spec.servers[0].port.protocol"]),
        (f"[{{{HTTP}, hosts: [a]}}, {{{HTTP}, hosts: [b]}}]", ["error duplicate-port spec.servers[1].port.name"]),
        (f"[{{{HTTP}, hosts: [a], tls: {{mode: SIMPLE, credentialName: c}}}}]", ["error one-of spec.servers[0].tls"]),
        (f"[{{{HTTP}, hosts: [a], tls: {{serverCertificate: c}}}}]", ["error one-of spec.servers[0].tls"]),
        (f"[{{{HTTP}, hosts: [a], bind: x}}]", ["error bad-value spec.servers[0].bind", "warning not-there-yet spec.servers[0].bind"]),
        (f"[{{{HTTP}, hosts: [a], bind: 1.2.3.4}}]", ["warning not-there-yet spec.servers[0].bind"]),
        (f"[{{{HTTP}, hosts: [a], foo: b}}]", ["error unknown-field spec.servers[0].foo"]),
    ],
)  # fmt: skip
def test_what_istio_refuses_is_refused(
    load: Load, said: Said, servers: str, wanted: list[str]
) -> None:
    found = said(load(gateway(servers)))
    assert found == wanted or sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    ("protocol", "tls", "wanted"),
    [
        ("HTTPS", "mode: SIMPLE, credentialName: c", []),
        ("HTTPS", "mode: SIMPLE, serverCertificate: c, privateKey: k", []),
        ("HTTPS", "mode: SIMPLE, serverCertificate: c", ["error missing-field spec.servers[0].tls"]),
        ("HTTPS", "mode: MUTUAL, serverCertificate: c, privateKey: k", ["error missing-field spec.servers[0].tls"]),
        ("TLS", "mode: PASSTHROUGH", []),
        ("TLS", "mode: ISTIO_MUTUAL, privateKey: k", ["error one-of spec.servers[0].tls.privateKey"]),
        ("HTTPS", "", ["error missing-field spec.servers[0].port.protocol"]),
        ("TCP", "mode: SIMPLE, credentialName: c", ["error one-of spec.servers[0].tls"]),
        ("TCP", "", []),
    ],
)  # fmt: skip
def test_a_port_that_is_not_opened_is_named(
    load: Load, said: Said, protocol: str, tls: str, wanted: list[str]
) -> None:
    port = f"port: {{number: 443, name: a, protocol: {protocol}}}"
    more = f", tls: {{{tls}}}" if tls else ""
    found = said(load(gateway(f"[{{{port}, hosts: [a]{more}}}]")))
    not_opened = "warning not-there-yet spec.servers[0].port.protocol"
    if "error missing-field spec.servers[0].port.protocol" not in wanted:
        assert not_opened in found
    assert [each for each in found if each != not_opened] == wanted


def test_servers_and_their_hosts_are_in_the_model(load: Load) -> None:
    text = gateway(
        f"[{{{HTTP}, hosts: [A.com, ns/b.com, ./c.com]}}, "
        "{port: {number: 443, name: b, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}]"
    )
    (made,) = config.build(load(text).objects, Addresses())[0].gateways
    assert made.full_name == "shop/a"
    plain, tls = made.servers
    assert plain == GatewayServer(80, (("*", "a.com"), ("ns", "b.com"), ("shop", "c.com")))
    assert "TLS" in tls.refused
    assert made.selects((("app", "x"), ("istio", "edge")))
    assert not made.selects((("app", "x"),))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("edge", "shop/edge"),
        ("./edge", "shop/edge"),
        ("other/edge", "other/edge"),
        ("edge.other.svc.cluster.local", "other/edge"),
    ],
)
def test_a_gateway_is_named_as_istio_lets_one_name_it(load: Load, written: str, meant: str) -> None:
    found = load(f"""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{name: a, namespace: shop}}
        spec:
          hosts: [a.com]
          gateways: [{written}, mesh]
          http: [{{route: [{{destination: {{host: a}}}}]}}]
        """)
    mesh, _ = config.build(found.objects, Addresses())
    (at_gateway,), (in_mesh,) = mesh.gateway_services, mesh.virtual_services
    assert at_gateway.gateways == (meant,)
    assert in_mesh.gateways == ()


def test_what_only_http_proxies_do_is_warned_of_where_the_mesh_is_meant(
    load: Load, said: Said
) -> None:
    text = """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{name: a}}
        spec:
          hosts: [a]
          gateways: {}
          http:
          - match: [{{queryParams: {{a: {{exact: b}}}}}}]
            rewrite: {{uri: /}}
            mirror: {{host: b}}
            route: [{{destination: {{host: a}}}}]
        """
    assert said(load(text.format("[edge]"))) == []
    assert said(load(text.format("[edge, mesh]"))) == [
        "warning not-there-yet spec.http[0].match[0].queryParams",
        "warning not-there-yet spec.http[0].rewrite",
        "warning not-there-yet spec.http[0].mirror",
    ]


def test_a_gateway_has_no_command(load: Load, said: Said) -> None:
    text = "apiVersion: meltemi.io/v1alpha1\nkind: Workload\nmetadata: {{name: a}}\nspec: {}"
    port = "ports: [{name: a, port: 80, hostPort: 8080}]"
    assert said(load(text.format(f"{{mesh: gateway, {port}}}"))) == []
    assert said(load(text.format("{mesh: gateway, command: [a]}"))) == [
        "warning no-effect spec.command"
    ]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("*", "*", "*"),
        ("*", "a.b", "a.b"),
        ("*.b", "a.b", "a.b"),
        ("*.b", "b", None),
        ("*.a.b", "*.b", "*.a.b"),
        ("*.a", "*.b", None),
        ("a.b", "a.c", None),
    ],
)
def test_hosts_have_in_common_what_the_narrower_one_says(
    one: str, other: str, both: str | None
) -> None:
    assert narrower(one, other) == narrower(other, one) == both
