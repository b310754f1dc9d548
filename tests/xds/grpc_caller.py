"""A process of its own with gRPC's xDS client: it reads its bootstrap once, before the first
channel. For each line of input it makes that many calls and prints how often each answer came."""

from __future__ import annotations

import collections
import json
import sys

import grpc


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        call = channel.unary_unary("/demo.Greeter/Hello")
        for line in sys.stdin:
            answers: collections.Counter[str] = collections.Counter()
            for _ in range(int(line)):
                try:
                    answers[call(b"", timeout=10, wait_for_ready=True).decode()] += 1
                except grpc.RpcError as error:
                    answers[f"{error.code().name}: {error.details()}"] += 1
            print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
