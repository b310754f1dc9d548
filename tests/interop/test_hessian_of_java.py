"""Where values end, as the full reader of Apache Dubbo's hessian-lite says of random ones."""

from __future__ import annotations

import random
import subprocess

import pytest
from apache_dubbo import java
from hessian_ends import wrong_ends
from hessian_frames import parse

pytestmark = pytest.mark.peers

SEEDS = 40_000


@pytest.mark.timeout(300)
def test_random_values_end_at_the_byte_where_the_full_reader_ends(java_peers: None) -> None:
    first = random.SystemRandom().randrange(1 << 30)
    command = [*java("Values"), str(first), str(SEEDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as values:
        assert values.stdout is not None
        bodies = [body for line in values.stdout if (body := parse(line))]
    assert values.returncode == 0
    wrong = [text for body in bodies for text in wrong_ends(body)]
    assert wrong == [], f"java interop.Values {first} {SEEDS}"
    assert len(bodies) > SEEDS * 3 / 4
