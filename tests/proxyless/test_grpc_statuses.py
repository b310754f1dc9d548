"""Which status a call of asyncio has whose server ends it while it still writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from meltemi.proxyless.grpc_aio_status import keep_status
from ruled_service import TARGET, Ruled, ruled
from versioned_grpc import SERVICE, serving

CALLS = 150
ONE_ATTEMPT = """
- retries: {attempts: 0}
  route: [{destination: {host: books.mesh, subset: v1}}]
"""


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Ruled]:
    ports = {"v1": free_port()}
    directory: Path = tmp_path_factory.mktemp("statuses") / "mesh"
    with serving(ports), ruled(directory, (free_port(), free_port()), "grpc", ports) as made:
        made.rules(ONE_ATTEMPT)
        yield made


async def requests() -> AsyncIterator[bytes]:
    yield b"fail UNAVAILABLE v1"
    for _ in range(20):
        yield b"x" * 2000


async def test_a_server_that_ends_a_call_early_says_how_it_ended(service: Ruled) -> None:
    async with service.mesh.grpc_aio(TARGET) as channel:
        method = channel.stream_stream(f"/{SERVICE}/Talk")
        for _ in range(CALLS):
            call = method(requests())
            with pytest.raises(grpc.aio.AioRpcError) as error:
                [each async for each in call]
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error.value.details() == "v1 fails"
            assert (await call.code(), await call.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "v1 fails",
            )
        assert not [each for each in channel.endpoints._known.values() if each.active]


async def test_grpcios_own_call_object_is_where_it_is_looked_for(service: Ruled) -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        call = channel.stream_stream("/a/b")()
        before = call._cython_call
        keep_status(call)
        assert call._cython_call is not before
        call.cancel()
