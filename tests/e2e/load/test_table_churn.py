"""Route tables change hundreds of times a second under load: no request fails, none goes astray."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from engines import POOL, Answer, Engine, Mode, answers, backend, engine, load
from meltemi.xds import messages
from runner import resources

pytestmark = pytest.mark.load

BACKENDS = 5
PERIOD_S = 1 / 240  # at least 200 a second are wanted, also when one comes late
COUNTER = "meltemi.tables_in_force_total"


@dataclass
class History:
    """Which backend each table allowed, and when at most that table was in force."""

    allowed: list[str]
    began_ns: list[int]
    """Nobody had it before."""
    known_ns: list[int]
    """Every worker had it then."""

    def allows(self, answer: Answer) -> set[str]:
        """The backends of all tables that may have been in force while the request was on its way.

        A table ends when its successor is known to be everywhere.
        """
        last = bisect.bisect_right(self.began_ns, answer.end_ns)
        first = max(bisect.bisect_right(self.known_ns, answer.start_ns) - 1, 0)
        return set(self.allowed[first:last])


@pytest.mark.slow
def test_every_answer_is_allowed_by_a_table_that_was_in_force(
    mode: Mode, tools: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    seconds = 20 if mode == POOL else 4
    record = tmp_path / "record"
    with backend(tools, free_port(), BACKENDS, mode=mode) as served, engine() as running:
        clusters = {str(port): [port] for port in served.ports}
        port = free_port()
        running.serve(port, clusters, [table_route(0, served.ports[0])], mode)
        before = running.stats()[COUNTER]
        options = [*mode.words, "-c", 64, "-t", seconds + 1, "-w", 0, "--record", record]
        requests = load(tools, port, *options)
        history, counted = churn(running, served.ports, seconds)
        result = requests.result()
        in_force = running.stats()[COUNTER] - before

    assert counted == len(history.allowed) - 1
    assert in_force >= counted >= 200 * seconds
    astray, told_apart, all_of_them = 0, 0, 0
    for answer in answers(record):
        allowed = history.allows(answer)
        all_of_them += 1
        astray += answer.backend not in allowed
        told_apart += len(allowed) < BACKENDS
    assert astray == 0
    assert all_of_them == result["answers"] > 1000
    # Were most requests slower than several tables, any answer would be right.
    assert told_apart > all_of_them / 2


def churn(running: Engine, ports: tuple[int, ...], seconds: int) -> tuple[History, int]:
    """Puts a new table in force every PERIOD_S; returns them, and how many the engine counted."""
    chance = random.Random(1)
    now = time.monotonic_ns()
    history = History([str(ports[0])], [0], [now])
    before = running.stats()[COUNTER]
    begin = time.monotonic()
    number = 0
    stats: dict[str, float] = {}
    while time.monotonic() < begin + seconds:
        number += 1
        to = chance.choice(ports)
        made = [resources.table([table_route(number, to)])]
        done = running.update(messages.ROUTE, made, until_in_force=True)
        history.allowed.append(str(to))
        history.began_ns.append(done["began_ns"])
        history.known_ns.append(done["ended_ns"])
        stats = done["stats"]
        time.sleep(max(0.0, begin + number * PERIOD_S - time.monotonic()))
    return history, int(stats[COUNTER] - before)


def table_route(number: int, port: int) -> dict[str, object]:
    """A rule that no other table has."""
    return resources.route(f"rule-{number}", {str(port): 1}, method="sayHello")


def test_the_check_sees_an_answer_that_no_table_allowed() -> None:
    history = History(["a", "b", "a", "c"], [0, 100, 200, 300], [50, 150, 250, 350])

    def allowed(start: int, end: int) -> set[str]:
        return history.allows(Answer(start, end, 0, ""))

    assert allowed(60, 90) == {"a"}  # before b could be anywhere
    assert allowed(60, 120) == {"a", "b"}  # b may have been there at its end
    assert allowed(160, 190) == {"b"}  # a was gone everywhere
    assert allowed(140, 190) == {"a", "b"}
    assert allowed(400, 500) == {"c"}
