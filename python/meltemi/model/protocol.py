"""Which protocol a port speaks, and which codec reads it."""

from __future__ import annotations

from dataclasses import dataclass

TCP = "tcp"

BUILT_IN_CODECS = {
    "dubbo": "aeraki.meta_protocol.codec.dubbo",
    "thrift": "aeraki.meta_protocol.codec.thrift",
}

ENGINE_CODECS = frozenset(BUILT_IN_CODECS.values())
"""The codecs that the engine has. A port of another one is forwarded as TCP."""

MUTABLE_CODECS = ENGINE_CODECS
"""Those of them whose messages have a place for attributes that a rule sets: Dubbo's attachments,
the headers of THeader and TTHeader."""


@dataclass(frozen=True, slots=True)
class ApplicationProtocol:
    """`ApplicationProtocol` of metaprotocol.aeraki.io: the codec that reads a protocol."""

    protocol: str
    codec: str


def port_protocol(name: str, app_protocol: str | None, known: frozenset[str]) -> str:
    """The protocol of a port: `appProtocol`, else its name, else TCP (design, section 4).

    `tcp-metaprotocol-thrift-x`, `tcp-thrift-x`, `thrift-x` all mean thrift. A name is believed
    only for a protocol in `known` (lower case); what has no codec is forwarded as TCP."""
    words = app_protocol.lower().split("-") if app_protocol else name.lower().split("-")
    if words[0] == TCP and len(words) > 1:
        words = words[1:]
    if words[0] == "metaprotocol" and len(words) > 1:
        words = words[1:]
    return words[0] if words[0] in known else TCP


def speaks_http2(name: str, app_protocol: str | None) -> bool:
    """Whether a port is one of HTTP/2: `grpc`, `http2` or Kubernetes' `kubernetes.io/h2c` as its
    `appProtocol`, else the first word of its name (Istio, protocol selection)."""
    said = (app_protocol or name).lower()
    if said in ("kubernetes.io/h2c", "grpc-web") or said.startswith("grpc-web-"):
        return said == "kubernetes.io/h2c"
    return said.partition("-")[0] in ("grpc", "http2", "h2c")
