"""`Gateway` of networking.istio.io.

Source: istio/api networking/v1alpha3/gateway.proto and its CRD."""

from __future__ import annotations

from typing import Annotated, Literal

from meltemi.config.schema.types import Labels, NotYet, Schema, UInt32, not_yet

TlsMode = Literal[
    "PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"
]
TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class Port(Schema):
    """`target_port` means nothing to Istio either."""

    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 | None = None


class Certificates(Schema):
    server_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None


class Tls(Schema):
    https_redirect: bool | None = None
    mode: TlsMode | None = None
    server_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    ca_crl: str | None = None
    credential_name: str | None = None
    credential_names: list[str] | None = None
    ca_cert_credential_name: str | None = None
    tls_certificates: list[Certificates] | None = None
    subject_alt_names: list[str] | None = None
    verify_certificate_spki: list[str] | None = None
    verify_certificate_hash: list[str] | None = None
    min_protocol_version: TlsVersion | None = None
    max_protocol_version: TlsVersion | None = None
    cipher_suites: list[str] | None = None


class Server(Schema):
    port: Port
    hosts: list[str]
    bind: Annotated[str | None, NotYet(hint="the port is opened at the workload's own address")] = (
        None
    )
    tls: Tls | None = None
    default_endpoint: Annotated[str | None, not_yet] = None
    name: str | None = None


class GatewaySpec(Schema):
    selector: Labels | None = None
    servers: list[Server] | None = None
