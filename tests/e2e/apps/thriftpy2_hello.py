"""`hello.thrift` over thriftpy2, sync and async."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

hello = thriftpy2.load(str(Path(__file__).with_name("hello.thrift")), module_name="e2e_thrift")

VARIANTS = {
    "framed-binary": (TBinaryProtocolFactory, TFramedTransportFactory),
    "framed-compact": (TCompactProtocolFactory, TFramedTransportFactory),
    "unframed-binary": (TBinaryProtocolFactory, TBufferedTransportFactory),
    "unframed-compact": (TCompactProtocolFactory, TBufferedTransportFactory),
}


class Handler:
    def sayHello(self, name: str) -> str:
        if name == "refused":
            raise hello.Refused("not you")
        return f"Hello {name}, response from {me()}"

    def wait(self, name: str, milliseconds: int) -> str:
        time.sleep(milliseconds / 1000)
        return f"Hello {name}, response from {me()}"

    def note(self, text: str) -> None:
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(f"{os.environ['POD_NAME']} {text}\n")


def client(variant: str, host: str, port: int) -> Any:
    protocol, transport = VARIANTS[variant]
    return make_client(
        hello.HelloService,
        host,
        port,
        proto_factory=protocol(),
        trans_factory=transport(),
        timeout=10_000,
    )


async def async_client(variant: str, host: str, port: int) -> Any:
    from thriftpy2.contrib.aio import rpc
    from thriftpy2.contrib.aio.protocol import (
        TAsyncBinaryProtocolFactory,
        TAsyncCompactProtocolFactory,
    )
    from thriftpy2.contrib.aio.transport import (
        TAsyncBufferedTransportFactory,
        TAsyncFramedTransportFactory,
    )

    compact, framed = "compact" in variant, variant.startswith("framed")
    return await rpc.make_client(
        hello.HelloService,
        host,
        port,
        proto_factory=TAsyncCompactProtocolFactory() if compact else TAsyncBinaryProtocolFactory(),
        trans_factory=TAsyncFramedTransportFactory()
        if framed
        else TAsyncBufferedTransportFactory(),
        timeout=10_000,
    )


def me() -> str:
    return f"{os.environ['POD_NAME']}/{os.environ['INSTANCE_IP']}"
