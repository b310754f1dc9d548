"""An object as YAML text: what people read in `.meltemi/config` and in `get -o yaml`.

Text that a YAML reader might take for a number, a date or a truth value is put in quotes, whichever
reader it is."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
# Of YAML 1.1, YAML 1.2 and Go's reader, which take some of them for other things than text.
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", ".nan", ".inf"))


class _Dumper(yaml.SafeDumper):
    """Quotes more than it has to, and never writes an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if (
        "\n" in value
        and "\r" not in value
        and all(line == line.rstrip() for line in value.split("\n"))
    ):
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def as_yaml(document: Any) -> str:
    """One YAML document; keys in the order that they have."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def as_stored(document: dict[str, Any]) -> str:
    """YAML that reads back as the same document, in any case: JSON where our YAML would not."""
    from meltemi.config.documents import parse  # not for `get`, which only writes

    text = as_yaml(document)
    documents, issues = parse("", text)
    if issues or [found.value for found in documents] != [document]:
        return json.dumps(document, indent=1)
    return text
