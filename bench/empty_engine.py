#!/usr/bin/env python3
"""Starts an engine without any configuration and prints the memory that it takes, as JSON.

What Python itself had resident before is printed beside it: `{"before": KiB, "after": KiB}`.
"""

from __future__ import annotations

import json
from pathlib import Path


def resident_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> None:
    resident_kib()  # what reading it takes is no part of the engine
    before = resident_kib()
    from meltemi.engine import Engine

    engine = Engine(
        workers=1,
        source_address=None,
        node={},
        access_log=None,
        access_log_format="text",
        limits={},
    )
    engine.stats()  # every thread has begun its work
    print(json.dumps({"before": before, "after": resident_kib()}))
    engine.close()


if __name__ == "__main__":
    main()
