"""Kitex (Go) and our Thrift clients and servers speak TTHeader with each other, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import kitex_peers
import pytest
import thriftpy2
from meltemi.proxyless import metainfo
from meltemi.proxyless import thrift as mesh_thrift
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from thrift_peers import mesh_of, running
from thriftpy2.rpc import make_server

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def service() -> Any:
    kitex_peers.build()
    return thriftpy2.load(str(kitex_peers.IDL))


@pytest.fixture
def address(service: Any, free_port: Callable[[], int]) -> Iterator[str]:
    """Kitex's server."""
    with kitex_peers.serving(f"127.0.0.1:{free_port()}") as listening:
        yield listening


class Handler:
    """Serves `Peer` and says what came with a call, as Kitex's does."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def Call(self, text: str) -> str:
        mesh_thrift.answer_with("served-by", "python")
        info = metainfo.held()
        return json.dumps(
            {
                "name": "python",
                "method": "Call",
                "text": text,
                "transient": dict(info.received),
                "persistent": {**info.persistent, **baggage.get_all()},
            }
        )

    def Other(self, text: str) -> str:
        raise mesh_thrift.BizStatusError(404, text, {"k": "v"})

    def Refuse(self, reason: str) -> str:
        raise self._service.Refused(reason=reason)


@pytest.mark.parametrize("wire", ["auto", "ttheader", "framed"])
def test_kitex_serves_our_calls(service: Any, address: str, wire: str) -> None:
    mesh = mesh_of(address)
    context = metainfo.with_transient("hop", "1", baggage.set_baggage("env", "dev"))
    token = attach(metainfo.with_persistent("user", "ada", context))
    try:
        with mesh_thrift.client(mesh, "peer:9080", service.Peer, wire=wire) as client:
            seen = [json.loads(client.Call(text)) for text in ("a", "größe", "x" * 100_000)]
            with pytest.raises(service.Refused) as refused:
                client.Refuse("so")
            assert refused.value.reason == "so"
            assert json.loads(client.Other("o"))["method"] == "Other"
    finally:
        detach(token)
    assert [each["text"] for each in seen] == ["a", "größe", "x" * 100_000]
    if wire == "framed":
        assert not seen[0].get("transient")
    else:
        assert seen[0]["transient"] == {"baggage": "env=dev", "hop": "1"}
        assert seen[0]["persistent"] == {"baggage": "env=dev", "user": "ada"}
    assert {each[0] for each in mesh.told} == {"succeeded"}


async def test_kitex_serves_our_asynchronous_calls(service: Any, address: str) -> None:
    token = attach(baggage.set_baggage("env", "dev"))
    try:
        async with mesh_thrift.async_client(mesh_of(address), "peer:9080", service.Peer) as client:
            seen = json.loads(await client.Call("a"))
    finally:
        detach(token)
    assert seen["transient"] == {"baggage": "env=dev"}


@pytest.mark.parametrize("transport", ["ttheader", "framed", "ttheader-framed", "unframed"])
def test_a_wrapped_server_answers_kitex(
    service: Any, free_port: Callable[[], int], transport: str
) -> None:
    port = free_port()
    server = make_server(service.Peer, Handler(service), "127.0.0.1", port, client_timeout=None)
    with (
        running(mesh_thrift.mesh_server(server)),
        kitex_peers.calling(f"127.0.0.1:{port}", transport) as kitex,
    ):
        metadata = {"baggage": "env=dev", "hop": "1"}
        for _ in range(3):
            done = kitex.call("größe", transient=metadata, persistent={"user": "ada"})
            assert done.error == ""
            assert done.seen.text == "größe"
        if "ttheader" in transport:
            assert done.seen.transient == {"hop": "1"}
            assert done.seen.persistent == {"env": "dev", "user": "ada"}
            assert done.backward.get("served-by") == "python"
        assert kitex.call("no", method="Refuse").refused == "no"
        business = kitex.call("nicht da", method="Other")
        assert "nicht da" in business.error
