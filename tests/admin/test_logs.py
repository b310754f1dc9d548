from __future__ import annotations

import asyncio
import logging

import pytest
from meltemi.admin.logs import LoopProblems


async def test_what_a_loop_says_many_times_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopProblems(logging.getLogger("meltemi.test")))
    for _ in range(100):
        loop.call_exception_handler({"message": "no more", "exception": OSError(24, "too many")})
    loop.call_exception_handler({"message": "something else"})
    assert [record.getMessage() for record in caplog.records] == [
        "no more: [Errno 24] too many",
        "something else: no reason known",
    ]
    assert all(record.exc_info is None for record in caplog.records)
