"""Puts the golden messages into the corpora, so that a new fuzzer starts from real ones.

    python fuzz/seed.py

Seeds are named after their message; what a fuzzer finds is named after its hash.
"""

from __future__ import annotations

import json
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
GOLDEN = FUZZ.parent / "tests" / "golden"
MESSAGES = {"thrift": GOLDEN / "messages.jsonl", "dubbo": GOLDEN / "dubbo" / "frames.jsonl"}
# What a target reads before the message: the pieces to read in, the id to write.
TARGETS = {
    "requests": ("request", b""),
    "responses": ("response", b""),
    "splits": ("request", b"\x01"),
    "encode": ("request", b"\x00\x01\x02\x03"),
}
LARGEST = 1024  # bytes: a fuzzer gets nowhere with much longer ones


def main() -> None:
    for protocol, messages in MESSAGES.items():
        for line in messages.read_text().splitlines():
            seed(protocol, json.loads(line))


def seed(protocol: str, message: dict[str, str]) -> None:
    """Puts one message into the corpora that read such."""
    data = bytes.fromhex(message["hex"])
    for target, (direction, prefix) in TARGETS.items():
        if message["direction"] != direction or len(data) > LARGEST:
            continue
        corpus = FUZZ / "corpus" / f"{protocol}_{target}"
        corpus.mkdir(parents=True, exist_ok=True)
        (corpus / message["name"]).write_bytes(prefix + data)


if __name__ == "__main__":
    main()
