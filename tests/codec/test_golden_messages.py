"""The golden messages are what the other implementations write."""

from __future__ import annotations

import subprocess
import sys

from thrift_looker import GOLDEN


def test_the_golden_messages_are_what_the_pinned_libraries_write() -> None:
    script = GOLDEN.with_name("make_golden.py")
    checked = subprocess.run(
        [sys.executable, script, "--check"], stderr=subprocess.PIPE, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
