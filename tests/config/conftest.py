"""What the tests of `config` share: documents in, what is said of them out."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest
from meltemi import config
from meltemi.config import Issue, Loaded

Load = Callable[..., Loaded]
Said = Callable[..., list[str]]


@pytest.fixture
def load() -> Load:
    """Loads one document, or several files given as `name=text`."""

    def run(text: str = "", /, namespace: str = "default", **files: str) -> Loaded:
        contents = {"a.yaml": text} if text else {}
        contents |= {f"{name}.yaml": content for name, content in files.items()}
        sources = [config.Source(name, dedent(content)) for name, content in contents.items()]
        return config.load(sources, namespace)

    return run


@pytest.fixture
def said() -> Said:
    """`severity code path` of each issue, in order."""

    def run(issues: Loaded | list[Issue]) -> list[str]:
        found = issues.issues if isinstance(issues, Loaded) else issues
        return [f"{issue.severity} {issue.code} {issue.path}".strip() for issue in found]

    return run
