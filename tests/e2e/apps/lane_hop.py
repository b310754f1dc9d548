"""One service of a chain: says its LANE, and what NEXT said, which it calls through its sidecar.

It takes Thrift (THeader and TTHeader, what was asked by) and Dubbo, and carries the baggage on. The
text of a call is its wire."""

from __future__ import annotations

import os
import signal
import threading

import dubbo_wire
import lane_calls
import thriftpy2_hello
from meltemi.proxyless import handoff
from meltemi.proxyless.thrift import mesh_server
from thriftpy2.rpc import make_server


def answer(wire: str, baggage: str) -> str:
    following = os.environ.get("NEXT")
    lane = os.environ["LANE"]
    if not following:
        return lane
    try:
        behind = lane_calls.call(wire, lane_calls.service_host(following), wire, baggage)
    except (lane_calls.Failed, OSError, EOFError) as error:
        behind = f"!{error or type(error).__name__}"
    return f"{lane} {behind}"


class Handler:
    def sayHello(self, name: str) -> str:
        carried: dict[str, str] = {}
        handoff.inject(carried)
        return answer(name, carried.get("baggage", ""))


def of_dubbo(request: dubbo_wire.Request) -> object:
    return answer(str(request.arguments[0]), str(request.attachments.get("baggage", "")))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host = os.environ["HOST"]
    provider = dubbo_wire.Provider((host, lane_calls.DUBBO_PORT), of_dubbo)
    threading.Thread(target=provider.serve_forever, args=(0.05,), daemon=True).start()
    service, port = thriftpy2_hello.hello.HelloService, lane_calls.THRIFT_PORT
    server = make_server(service, Handler(), host, port, client_timeout=None)
    mesh_server(server).serve()


if __name__ == "__main__":
    main()
