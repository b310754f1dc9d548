"""A connection without traffic stays up: the client's pings are no abuse to the server."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from ads_streams import Running, Start
from meltemi.xds import server as server_module
from meltemi.xds.discovery import SotwRequest
from meltemi.xds.messages import CLUSTER
from meltemi.xds.shell import KEEPALIVE_S
from xds_source import cluster


def test_our_own_client_pings_less_often_than_the_server_allows() -> None:
    assert KEEPALIVE_S >= 2 * server_module.CLIENT_PING_S


async def test_an_idle_stream_with_keepalive_is_not_dropped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CLIENT_PING_S", 0.05)
    running: Running = await start()
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", 200),
        ("grpc.http2.max_pings_without_data", 0),  # else it waits a minute after some pings
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options) as channel:
        stream = await running.stream(channel=channel)
        await stream.send(SotwRequest(CLUSTER), node=True)
        first = await stream.read()
        await stream.send(SotwRequest(CLUSTER, (), first.version, first.nonce))
        await asyncio.sleep(6)  # a ping a second; a server that minds them ends it at the fourth
        newest = cluster("c", "new")
        running.source.put(CLUSTER, newest)
        running.server.changed()
        assert [each.body for each in (await stream.read()).resources] == [newest.body]
