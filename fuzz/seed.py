"""Puts the golden messages into the corpora, so that a new fuzzer starts from real ones.

    python fuzz/seed.py

Seeds are named after their message; what a fuzzer finds is named after its hash.
"""

from __future__ import annotations

import json
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
MESSAGES = FUZZ.parent / "tests" / "golden" / "messages.jsonl"
# What a target reads before the message: the pieces to read in, the id to write.
TARGETS = {
    "thrift_requests": ("request", b""),
    "thrift_responses": ("response", b""),
    "thrift_splits": ("request", b"\x01"),
    "thrift_encode": ("request", b"\x00\x01\x02\x03"),
}
LARGEST = 1024  # bytes: a fuzzer gets nowhere with much longer ones


def main() -> None:
    for line in MESSAGES.read_text().splitlines():
        message = json.loads(line)
        data = bytes.fromhex(message["hex"])
        for target, (direction, prefix) in TARGETS.items():
            if message["direction"] != direction or len(data) > LARGEST:
                continue
            corpus = FUZZ / "corpus" / target
            corpus.mkdir(parents=True, exist_ok=True)
            (corpus / message["name"]).write_bytes(prefix + data)


if __name__ == "__main__":
    main()
