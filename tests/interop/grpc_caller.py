"""gRPC's own client with its own xDS, told line by line what to call.

A line is JSON: `target`, `method`, `metadata`, `count`, `timeout_s`, and what is sent (`text`). So
is its answer: how often came what (the server's answer, or the status and its details), and the
seconds it took."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import grpc


def call(channel: grpc.Channel, order: dict[str, object]) -> str:
    method = channel.unary_unary(str(order["method"]))
    metadata = order["metadata"]
    assert isinstance(metadata, list)
    try:
        answer: bytes = method(
            str(order.get("text", "")).encode(),
            timeout=order["timeout_s"],
            metadata=[(name, value) for name, value in metadata],
        )
        return answer.decode()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def main() -> None:
    channels: dict[str, grpc.Channel] = {}
    for line in sys.stdin:
        order = json.loads(line)
        target = order["target"]
        if target not in channels:
            channels[target] = grpc.insecure_channel(target)
        began = time.monotonic()
        answers = Counter(call(channels[target], order) for _ in range(order["count"]))
        took_s = time.monotonic() - began
        print(json.dumps({"answers": answers, "took_s": took_s}), flush=True)


if __name__ == "__main__":
    main()
