"""What the documents list is what there is: commands, options, fields, paths, limits, errors."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

import click
import pytest
from documents import DOCUMENTS, PAGES, ROOT, blocks, read, section, table
from meltemi.cli import cli
from meltemi.config.kinds import KINDS
from meltemi.config.schema.types import NotYet, Schema
from meltemi.engine import Engine
from meltemi.sidecar.admin import HELP

COMMANDS_PAGE = "docs/commands.md"
_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


def _commands(
    group: click.Group = cli, path: tuple[str, ...] = ("meltemi",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


ALL = dict(_commands())


def _options(command: click.Command) -> set[str]:
    return {
        name
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        for name in (*option.opts, *option.secondary_opts)
    }


def _listed(text: str) -> set[str]:
    """Options in code within a text."""
    code = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {option for piece in code for option in _OPTION.findall(piece)}


@pytest.mark.parametrize("path", [path for path in ALL if len(path) == 2], ids=" ".join)
def test_the_page_has_each_command_with_all_its_options(path: tuple[str, ...]) -> None:
    text = section(COMMANDS_PAGE, " ".join(path))
    below = [command for other, command in ALL.items() if other[: len(path)] == path]
    assert set().union(*map(_options, below)) <= _listed(text)
    for other in ALL:
        if other[: len(path)] == path:
            assert f"`{' '.join(other)} " in text or f"`{' '.join(other)}`" in text


@pytest.mark.parametrize("document", PAGES)
def test_commands_and_options_in_documents_exist(document: str) -> None:
    for line in _command_lines(document):
        words = shlex.split(line, comments=True)
        path = tuple(words[:2])
        if tuple(words[:3]) in ALL:
            path = tuple(words[:3])
        if path == ("meltemi", "COMMAND") or len(words) == 1:
            continue
        assert path in ALL, f"{document}: {line}"
        unknown = {word for word in words if _OPTION.fullmatch(word)} - {"--help", "-h"}
        assert unknown <= _options(ALL[path]), f"{document}: {line}"


def _command_lines(document: str) -> Iterator[str]:
    text = read(document)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    prose = re.sub(r"(?<=[\w,`])\n(?=\w)", " ", prose)
    yield from re.findall(r"`(meltemi [^`]+)`", prose)
    for block in blocks(document):
        for line in block.text.splitlines():
            for command in re.split(r"[;|]", line.removeprefix("$ ").partition("<<")[0]):
                if block.language in ("sh", "console") and command.strip().startswith("meltemi "):
                    yield command.strip().rstrip("& ")


def test_kinds_that_do_nothing_are_named() -> None:
    page = read("docs/configuration.md")
    named = page[page.index("## Not there yet") :]
    for kind in KINDS.values():
        text = named if kind.schema is None else page
        assert f"`{kind.name}`" in text or f"## {kind.name}" in text, kind.name


@pytest.mark.parametrize(
    "kind",
    [
        "MetaRouter",
        "VirtualService",
        "Gateway",
        "DestinationRule",
        "ServiceEntry",
        "WorkloadEntry",
        "Workload",
        "LaneGroup",
        "Lane",
    ],
)
def test_fields_that_do_nothing_are_named(kind: str) -> None:
    text = section("docs/configuration.md", "Not there yet")
    text += section("docs/configuration.md", "Refused for safety")
    schema = next(each.schema for each in KINDS.values() if each.name == kind)
    assert schema is not None
    for name in _not_yet(schema):
        covered = name in text or "LbSetting" in name or name in _LOAD_BALANCING
        assert covered, f"{kind}: {name}"


_LOAD_BALANCING = ("warmup", "warmupDurationSecs")
"""`of loadBalancer all but simple and consistentHash`."""


def _not_yet(schema: type[Schema]) -> Iterator[str]:
    """YAML names of marked fields, wherever they are below the schema."""
    for name, field in schema.model_fields.items():
        if any(isinstance(mark, NotYet) for mark in field.metadata):
            yield field.alias or name
            continue
        for inner in re.findall(r"meltemi\.config\.schema\.(\w+)\.(\w+)", str(field.annotation)):
            module = __import__(f"meltemi.config.schema.{inner[0]}", fromlist=[inner[1]])
            found = getattr(module, inner[1])
            if isinstance(found, type) and issubclass(found, Schema):
                yield from _not_yet(found)


def test_the_admin_paths_are_those_of_the_sidecar() -> None:
    listed = {
        re.findall(r"`(.*?)`", row[0])[0] for row in table("docs/operations.md", "admin paths")
    }
    assert listed == set(re.findall(r"^  (/\S*?)(?::| \()", HELP, re.MULTILINE))


def test_the_metrics_are_those_of_the_engine() -> None:
    listed = {
        name
        for row in table("docs/operations.md", "metrics")
        for name in re.findall(r"`(\w+)`", row[0])
    }
    source = (ROOT / "crates/proxy/src/stats/prometheus.rs").read_text()
    own = set(re.findall(r'"((?:istio|meltemi_lane)_\w+)"', source))
    assert listed == own | {"istio_requests_total"}


def test_who_answers_for_a_lane_has_the_words_that_are_listed() -> None:
    operations = read("docs/operations.md")
    _, _, listed = operations.partition("| `answered_by` | the endpoint that answered stood |")
    words = re.findall(r"^\| `(\w+)` \|", listed.partition("\n\n")[0], re.MULTILINE)
    source = (ROOT / "crates/balancer/src/stands.rs").read_text()
    assert words == re.findall(r'\("(\w+)", self\.\w+\)', source)


def test_the_access_log_takes_the_words_that_are_listed_and_no_other() -> None:
    words = [
        word
        for row in table("docs/operations.md", "words")
        for word in re.findall(r"`(%.*?%)`", row[0])
    ]
    _engine(" ".join(words)).close()
    with pytest.raises(ValueError, match="NO_SUCH_WORD"):
        _engine("%NO_SUCH_WORD%")
    source = (ROOT / "crates/proxy/src/access_log/format.rs").read_text()
    known = source.partition("match name {")[2].partition("_ =>")[0]
    assert set(re.findall(r'"([A-Z_]+)"', known)) == {
        re.split(r"[%(]", word)[1] for word in words if word != "%%"
    }


def test_the_keys_of_the_access_log_are_those_of_the_engine() -> None:
    source = (ROOT / "crates/proxy/src/access_log/format.rs").read_text()
    keys = re.findall(r'\("([a-z_]+)", "[A-Z_()]+"\)', source)
    found = re.search(r"^`json` has (.*?)\. ", read("docs/operations.md"), re.MULTILINE | re.DOTALL)
    assert found and keys and re.findall(r"`(\w+)`", found[1]) == keys


def _engine(form: str) -> Engine:
    return Engine(
        workers=1,
        source_address=None,
        node={},
        access_log=os.devnull,
        access_log_format=form,
        limits={},
    )


def test_the_limits_are_those_of_the_engine() -> None:
    source = (ROOT / "crates/proxy/src/config.rs").read_text()
    defaults = source[source.index("impl Default for Limits") : source.index("impl Limits {")]
    there = {name: _value(value) for name, value in re.findall(r"(\w+): (.+),\n", defaults)}
    listed = {row[0].strip("`"): row[1] for row in table("docs/operations.md", "limits")}
    assert listed == there


def _value(rust: str) -> str:
    if seconds := re.fullmatch(r"Duration::from_secs\((\d+)\)", rust):
        return f"{seconds[1]} s"
    if millis := re.fullmatch(r"Duration::from_millis\((\d+)\)", rust):
        return f"{int(millis[1]) / 1000:g} s"
    number, _, shift = rust.partition(" << ")
    if shift == "20":
        return f"{number} MiB"
    return f"{int(number.replace('_', '')) << int(shift or 0):,}"


def test_the_errors_are_those_of_the_engine() -> None:
    source = (ROOT / "crates/codec/src/error.rs").read_text()
    flags = dict(re.findall(r'Self::(\w+) => "([A-Z]+)"', source))
    details = dict(re.findall(r'Self::(\w+) => "([a-z_]+)"', source))
    there = {(flags[kind], f"`{details[kind]}`") for kind in flags}
    listed = {(row[0], row[1]) for row in table("docs/operations.md", "errors")}
    assert listed == there | {("DC", "`downstream_remote_disconnect`")}


@pytest.mark.parametrize(("column", "protocol"), [(2, "thrift"), (3, "dubbo")])
def test_the_errors_are_answered_as_the_protocols_do(column: int, protocol: str) -> None:
    kinds = (ROOT / "crates/codec/src/error.rs").read_text()
    details = dict(re.findall(r'Self::(\w+) => "([a-z_]+)"', kinds))
    source = (ROOT / f"crates/codec/src/{protocol}/reply.rs").read_text()
    numbers = dict(re.findall(r"const (\w+): u\d+ = (\d+);", source))
    arms = re.findall(r"((?:\|?\s*ErrorKind::\w+\s*)+)=> (\w+),", source)
    answered = {
        f"`{details[kind]}`": numbers[constant]
        for several, constant in arms
        for kind in re.findall(r"ErrorKind::(\w+)", several)
    }
    assert answered.keys() == {f"`{detail}`" for detail in details.values()}
    for row in table("docs/operations.md", "errors"):
        assert row[column] == answered.get(row[1], ""), row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_are_at_most_100_columns(document: str) -> None:
    assert [line for line in read(document).splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("document", PAGES)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", read(document)):
        name, _, anchor = target.partition("#")
        file = (ROOT / document).parent / name if name else ROOT / document
        assert file.is_file(), f"{document}: {target}"
        if not anchor:  # a picture, for instance
            continue
        heads = re.findall(r"^##+ (.*)", file.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert anchor in anchors, f"{document}: {target}"
