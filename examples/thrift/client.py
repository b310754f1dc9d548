"""Calls `sayHello` once a second over one long connection, and prints what comes back."""

import os
import signal
import sys
import time
from pathlib import Path

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.transport import TFramedTransportFactory, TTransportException

hello = thriftpy2.load(str(Path(__file__).with_name("hello.thrift")), module_name="hello_thrift")


def call_until_it_breaks(host: str, port: int) -> None:
    client = make_client(
        hello.HelloService,
        host,
        port,
        proto_factory=TBinaryProtocolFactory(),
        trans_factory=TFramedTransportFactory(),
    )
    print(f"connected to {host}:{port}", flush=True)
    try:
        while True:
            try:
                print(client.sayHello("Meltemi"), flush=True)
            except thriftpy2.thrift.TApplicationException as error:
                print(f"refused: {error.message}", flush=True)
            time.sleep(1)
    finally:
        client.close()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = os.environ["THRIFT_SAMPLE_SERVER_SERVICE_HOST"]
    port = int(os.environ["THRIFT_SAMPLE_SERVER_SERVICE_PORT"])
    while True:
        try:
            call_until_it_breaks(host, port)
        except (TTransportException, OSError) as error:
            print(f"connection lost: {error}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
