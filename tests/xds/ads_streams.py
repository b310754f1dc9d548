"""A running server and raw streams to it; the fixture `start` makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from meltemi.xds import discovery, messages
from meltemi.xds.discovery import DeltaRequest, Response, SotwRequest
from meltemi.xds.server import AdsServer
from xds_source import NODE_ID, Held

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@dataclass
class RawStream:
    """One gRPC stream on which a test says what it wants."""

    call: Any
    node_id: str = NODE_ID
    features: list[str] = field(default_factory=list)

    async def send(self, request: SotwRequest | DeltaRequest, *, node: bool = False) -> None:
        message = None
        if node:
            message = messages.message("envoy.config.core.v3.Node")(id=self.node_id)
            message.client_features.extend(self.features)
        if isinstance(request, SotwRequest):
            await self.call.write(discovery.encode_sotw_request(request, message))
        else:
            await self.call.write(discovery.encode_delta_request(request, message))

    async def read(self, *, delta: bool = False, timeout_s: float = 5) -> Response:
        async with asyncio.timeout(timeout_s):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, "the server ended the stream"
        decode = discovery.decode_delta_response if delta else discovery.decode_sotw_response
        return decode(data)

    async def end(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(5):
            return await self.call.code(), await self.call.details()


@dataclass
class Running:
    """A server, its source, and channels to it that the test's end closes."""

    server: AdsServer
    source: Held
    port: int
    stack: AsyncExitStack

    async def channel(self) -> grpc.aio.Channel:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        made = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options)
        return await self.stack.enter_async_context(made)

    async def stream(
        self,
        method: str = "StreamAggregatedResources",
        service: str = ADS,
        *,
        node_id: str = NODE_ID,
        channel: grpc.aio.Channel | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> RawStream:
        channel = channel or await self.channel()
        return RawStream(channel.stream_stream(f"/{service}/{method}")(metadata=metadata), node_id)


Start = Callable[..., Any]
