"""Calls by dubbo-ssl-python as it is told: a line of JSON in, a line of JSON out, in any order.

Run by the Python of an environment of its own: see `dubbo_ssl_peer`."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dubbo_ssl.client import DubboClient  # type: ignore[import-not-found]  # not of this project
from dubbo_ssl.codec.encoder import Object  # type: ignore[import-not-found]  # not of this project
from dubbo_ssl.connection import connections  # type: ignore[import-not-found]  # not of this project

IDLE_S = 0.3
"""A connection idle for so long is sent a heartbeat; after three without answer it is made anew."""

_writing = threading.Lock()


def call(asked: dict[str, Any]) -> dict[str, Any]:
    host = asked["host"]
    # Its pool never fills this in, and sends no heartbeat to a host that is missing.
    connections.connection_pool.client_heartbeats.setdefault(host, 0)
    client = DubboClient(asked["interface"], None, version=asked["version"], host=host)
    try:
        arguments = [_argument(argument) for argument in asked["arguments"]]
        value = client.call(asked["method"], arguments, asked["context"], timeout=20)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"value": value}


def _argument(given: Any) -> Any:
    """A list `["object", CLASS, FIELDS]` is an object, everything else itself."""
    if isinstance(given, list) and given[:1] == ["object"]:
        return Object(given[1], given[2])
    return given


def answer(line: str) -> None:
    asked = json.loads(line)
    began = time.monotonic()
    found = call(asked) | {"number": asked["number"], "s": time.monotonic() - began}
    with _writing:
        print(json.dumps(found), flush=True)


def main() -> None:
    connections.TIMEOUT_IDLE = IDLE_S
    with ThreadPoolExecutor(64) as threads:
        for line in sys.stdin:
            threads.submit(answer, line)


if __name__ == "__main__":
    main()
