"""A bare gRPC server: pushes the same bytes to every stream that is open, and nothing else.

    python bare_server.py PORT < commands

The peer of `pushing`. It prints a line when it listens. Each line of its input is the name of a
file, whose bytes it pushes at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

METHOD = "/bare.Push/Stream"


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method != METHOD:
            return None
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        reading = asyncio.create_task(_drain(requests))
        self.queues.add(queue)
        try:
            while True:
                await context.write(await queue.get())
        finally:
            self.queues.discard(queue)
            reading.cancel()


async def _drain(requests: AsyncIterator[bytes]) -> None:
    async for _ in requests:
        pass


async def _main(port: str) -> None:
    handler = _Handler()
    server = grpc.aio.server(options=(("grpc.max_send_message_length", -1),))
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("listening", flush=True)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        data = Path(line.decode().strip()).read_bytes()
        for queue in handler.queues:
            queue.put_nowait(data)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
