"""Blocking clients of a mesh that tests write, and replies of servers that they are."""

from __future__ import annotations

from typing import Any

from meltemi.proxyless import thrift as mesh_thrift
from meltemi.proxyless.thrift import message
from meltemi.proxyless.thrift.request import parse
from thrift_peers import mesh_of


def client_of(module: Any, *addresses: str, wire: str = "ttheader", **more: Any) -> Any:
    """A client whose calls go to these addresses, and `mesh` of it."""
    of_call = {name: more.pop(name) for name in ("timeout_s_of_route", "per_try") if name in more}
    names = {"timeout_s_of_route": "timeout_s", "per_try": "per_try_timeout_s"}
    mesh = mesh_of(*addresses, **{names[name]: value for name, value in of_call.items()})
    made: Any = mesh_thrift.client(mesh, "reviews:9080", module.Reviews, wire=wire, **more)
    made.mesh = mesh
    return made


def reply_to(data: bytes, body: bytes = b"\0", kind: int = message.REPLY) -> bytes:
    """An answer to the call in `data`, in its frame."""
    request = parse(data)
    head = message.read_head(request.payload, 0)
    whole = message.head(head.name, kind) + head.seqid.to_bytes(4, "big") + body
    return request.framed(whole, {})
