"""Puts the golden messages into the corpora, so that a new fuzzer starts from real ones.

    python fuzz/seed.py

Seeds are named after their message; what a fuzzer finds is named after its hash.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
GOLDEN = FUZZ.parent / "tests" / "golden"
sys.path.append(str(GOLDEN.parent))

import hessian_frames  # noqa: E402 - found by the path above

MESSAGES = {"thrift": GOLDEN / "messages.jsonl", "dubbo": GOLDEN / "dubbo" / "frames.jsonl"}
# What a target reads before the message: the pieces to read in, the id to write.
TARGETS = {
    "requests": ("request", b""),
    "responses": ("response", b""),
    "splits": ("request", b"\x01"),
    "encode": ("request", b"\x00\x01\x02\x03"),
}
VALUES = 80  # of the golden hessian2 values
LARGEST = 1024  # bytes: a fuzzer gets nowhere with much longer ones


def main() -> None:
    for protocol, messages in MESSAGES.items():
        for line in messages.read_text().splitlines():
            seed(protocol, json.loads(line))
    for line in hessian_frames.GOLDEN_VALUES.read_text().splitlines()[:VALUES]:
        if body := hessian_frames.parse(line):
            frame = hessian_frames.call(body.data, len(body.ends))
            name = f"values-{body.seed}"
            seed("dubbo", {"name": name, "direction": "request", "hex": frame.hex()})


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
