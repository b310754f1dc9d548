"""Requests of a streaming call, from attempt to attempt."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator

import pytest
from meltemi.proxyless.grpc_aio_replay import END, AioReplay
from meltemi.proxyless.grpc_replay import KEPT, Replay


def test_each_attempt_begins_at_the_start() -> None:
    replay = Replay(iter("abc"))
    first = replay.requests()
    assert [next(first), next(first)] == ["a", "b"]
    assert list(replay.requests()) == ["a", "b", "c"]
    assert list(first) == [], "the attempt before gets nothing more"
    assert list(replay.requests()) == ["a", "b", "c"]


def test_a_call_that_sent_much_is_not_attempted_again() -> None:
    replay = Replay(range(KEPT + 10))
    assert list(replay.requests()) == list(range(KEPT + 10))
    assert not replay.whole


def test_what_is_kept_still_comes_after_it_was_decided_to_keep_no_more() -> None:
    replay = Replay(iter("abc"))
    first = replay.requests()
    assert [next(first), next(first)] == ["a", "b"]
    second = replay.requests()
    assert next(second) == "a"
    replay.forget()
    assert list(second) == ["b", "c"]


def test_a_thread_of_the_attempt_before_loses_nothing() -> None:
    waiting: queue.Queue[str | None] = queue.Queue()
    replay = Replay(iter(waiting.get, None))
    waiting.put("a")
    first = replay.requests()
    assert next(first) == "a"
    rest: list[str] = []
    thread = threading.Thread(target=lambda: rest.extend(first))
    thread.start()  # waits for the application
    second = replay.requests()
    assert next(second) == "a"
    replay.forget()
    taken: list[str] = []
    other = threading.Thread(target=lambda: taken.extend(second))
    other.start()
    for request in ("b", "c", None):
        waiting.put(request)
    for each in (thread, other):
        each.join(10)
    assert (rest, taken) == ([], ["b", "c"])


async def _read(requests: AsyncIterator[str]) -> list[str]:
    return [each async for each in requests]


async def test_each_attempt_of_asyncio_begins_at_the_start() -> None:
    replay = AioReplay("abc")
    first = replay.requests()
    assert [await anext(first), await anext(first)] == ["a", "b"]
    second = replay.requests()
    assert await anext(second) == "a"
    replay.forget()
    assert await _read(second) == ["b", "c"]
    assert await _read(first) == []


async def test_a_cancelled_attempt_of_asyncio_loses_nothing() -> None:
    replay = AioReplay(None)
    assert replay.written is not None
    reading = asyncio.create_task(_read(replay.requests()))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reading = asyncio.create_task(_read(replay.requests()))
    for each in ("a", "b", END):
        await replay.written.put(each)
    assert await reading == ["a", "b"]


async def test_a_closed_replay_leaves_no_task() -> None:
    replay = AioReplay(None)
    reading = asyncio.create_task(_read(replay.requests()))
    await asyncio.sleep(0.01)
    replay.close()
    assert await reading == []
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
