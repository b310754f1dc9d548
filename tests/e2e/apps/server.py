"""One process that serves `HelloService` on each of its ports, by the protocol in its name.

`PORT_TCP_METAPROTOCOL_THRIFT_<LIBRARY>_<VARIANT>`, `PORT_TCP_METAPROTOCOL_DUBBO`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial

import apache
import thriftpy2_hello
from thrift.server.TServer import TThreadedServer
from thrift.transport import TSocket, TTransport
from thriftpy2.rpc import make_server


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host = os.environ["HOST"]
    threads = []
    for name, port in sorted(os.environ.items()):
        if name.startswith("PORT_TCP_METAPROTOCOL_") and port.isdigit():
            words = name.removeprefix("PORT_TCP_METAPROTOCOL_").lower().split("_")
            threads.append(threading.Thread(target=server(words), args=(host, int(port))))
    for thread in threads:
        thread.start()
    print(f"serving on {len(threads)} ports", flush=True)
    for thread in threads:  # pools of threads take no work once the main thread has ended
        thread.join()


def server(words: list[str]) -> Callable[[str, int], None]:
    """What serves an address, for the words of a port's name."""
    match words:
        case ["thrift", "apache", *variant]:
            return partial(serve_apache, "-".join(variant))
        case ["thrift", "thriftpy2", *variant]:
            return partial(serve_thriftpy2, "-".join(variant))
        case ["dubbo"]:
            import dubbo_hello  # its wire code is beside it in the meshes that speak Dubbo

            return dubbo_hello.serve
    raise ValueError(f"nothing serves {words}")


def serve_thriftpy2(variant: str, host: str, port: int) -> None:
    protocol, transport = thriftpy2_hello.VARIANTS[variant]
    make_server(
        thriftpy2_hello.hello.HelloService,
        thriftpy2_hello.Handler(),
        host,
        port,
        proto_factory=protocol(),
        trans_factory=transport(),
    ).serve()


def serve_apache(variant: str, host: str, port: int) -> None:
    protocol, transport = apache.VARIANTS[variant]
    listener = TSocket.TServerSocket(host, port)
    plain = TTransport.TTransportFactoryBase()  # THeader brings its own transport
    factory = transport() if transport is not None else plain
    TThreadedServer(apache.Processor(), listener, factory, protocol()).serve()


if __name__ == "__main__":
    main()
