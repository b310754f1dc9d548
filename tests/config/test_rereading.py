"""A file that is read again, piece by piece, is what it is when it is read as a whole."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from meltemi import config
from meltemi.config import Loaded, MeshBuilder, Read, Source, combine, recombine
from meltemi.config.rereading import FileReader
from meltemi.model.addresses import Addresses

ENTRY = """apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: e{0}, labels: {{app: a{0}}}}}
spec:
  address: 10.0.0.{0}
  labels: {{app: a{0}}}
"""
SERVICE = """apiVersion: v1
kind: Service
metadata:
  name: s{0}
spec:
  selector: {{app: a{0}}}
  ports: [{{name: tcp-metaprotocol-thrift, port: 9090}}]
"""
ROUTER = """# routes of s{0}
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: r{0}}}
spec:
  hosts: [s{0}.default.svc.cluster.local]
  routes:
  - route: [{{destination: {{host: s{0}.default.svc.cluster.local, subset: v{1}}}}}]
"""
RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d{0}}}
spec: {{host: s{0}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
"""
ODD = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: odd, name: twice}\nspec: {}\n",  # twice
    "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {prots: []}\n",  # unknown field
    "apiVersion: v1\nkind: List\nitems:\n- " + RULE.format(90).replace("\n", "\n  ") + "\n",
    "a: 'text\n---\nthat goes on'\n",
    "|\n  a block\n---\n  of text\n",
    "|\nat the margin\n---\nand on\n",
    "note: |\n  --- indented\n  text\nkind: x\n",
    "a: [1,\n",
    "# a comment alone\n",
    "just text\n",
    "%YAML 1.1\n",
    "a: b\n...\n",
    "--- # begins twice\na: b\n",
    "--- {a: b}\n",
    "a: x\x85b: y\n",
    "a: \u2028b\n",
    "a: &x 1\nb: *x\n",
    "b: *x\n",
    "",
    "\tkey: tab\n",
)


def documents(count: int) -> list[str]:
    kinds = (ENTRY, SERVICE, ROUTER, RULE)
    return [kinds[n % 4].format(n // 4, 1) for n in range(count)]


def edited(parts: list[str], rng: random.Random) -> list[str]:
    """One thing that people do to a file."""
    parts = list(parts)
    place = rng.randrange(len(parts))
    match rng.randrange(7):
        case 0:
            old = rng.choice(("subset: v1", "9090", "10.0.0", "v1"))
            parts[place] = parts[place].replace(old, f"{old}2")
        case 1:
            parts[place] = "# one line more\n" + parts[place]
        case 2:
            del parts[place]
        case 3:
            parts.insert(place, rng.choice(ODD))
        case 4:
            parts.insert(place, parts[rng.randrange(len(parts))])
        case 5:
            parts[place] = parts[place][: rng.randrange(len(parts[place]) + 1)]
        case 6:
            parts = [part for part in parts if part not in ODD]
    return parts or documents(1)


def assert_same(found: Read, expected: Read) -> None:
    assert found == expected
    for one, other in zip(found.objects, expected.objects, strict=True):
        assert list(one.document.marks) == list(other.document.marks), one.ref


@pytest.mark.parametrize("seed", range(40))
def test_after_any_edit_a_file_reads_as_if_it_were_new(seed: int) -> None:
    rng = random.Random(seed)
    reader, parts = FileReader(), documents(16)
    for _ in range(40):
        text = "---\n".join(parts)
        text = text if rng.random() < 0.9 else text.rstrip("\n")
        source = Source("a.yaml", text.encode())
        assert_same(reader.read(source), config.read(source))
        parts = edited(parts, rng)


@pytest.mark.parametrize("seed", range(300))
def test_a_separator_that_comes_goes_or_changes_is_seen(seed: int) -> None:
    """What stands at the end of one piece and at the beginning of the next decides together."""
    rng = random.Random(seed)
    marks = ("---\n", "---", "\n", "--- # c\n", "---x\n", " ---\n", "#\n", "x: 1\n", "\r\n", "|\n")

    def part() -> str:
        return ENTRY.format(rng.randrange(3), 1) if rng.random() < 0.5 else rng.choice(marks)

    reader, parts = FileReader(), [part() for _ in range(1 + rng.randrange(7))]
    for _ in range(8):
        source = Source("a.yaml", "".join(parts))
        assert_same(reader.read(source), config.read(source))
        place = rng.randrange(len(parts))
        match rng.randrange(4):
            case 0:
                parts.insert(place, part())
            case 1:
                parts[place] = part()
            case 2:
                parts = parts[place:] + parts[:place]
            case 3 if len(parts) > 1:
                del parts[place]


def test_only_the_document_that_was_edited_is_read_again() -> None:
    reader, parts = FileReader(), documents(16)
    before = reader.read(Source("a.yaml", "---\n".join(parts)))
    parts[6] = parts[6].replace("subset: v1", "subset: v2")
    after = reader.read(Source("a.yaml", "---\n".join(parts)))
    others = [one is other for one, other in zip(before.objects, after.objects, strict=True)]
    assert others == [place != 6 for place in range(16)]


def test_a_line_that_comes_moves_what_stands_behind_it() -> None:
    reader, parts = FileReader(), documents(4)
    reader.read(Source("a.yaml", "---\n".join(parts)))
    parts[0] = "# a line\n" + parts[0]
    source = Source("a.yaml", "---\n".join(parts))
    found, expected = reader.read(source), config.read(source)
    assert_same(found, expected)
    assert [item.line for item in found.objects] == [item.line for item in expected.objects]
    path = ("spec", "routes", 0, "route")
    places = [read.objects[2].document.place(path) for read in (found, expected)]
    assert places[0] == places[1]


def loads(seed: int) -> list[tuple[Read, ...]]:
    """Three files, and what they are after each of some edits."""
    rng = random.Random(seed)
    files = [documents(24)[part::3] for part in range(3)]
    readers = [FileReader() for _ in files]
    found = []
    for _ in range(25):
        texts = ["---\n".join(parts) for parts in files]
        sources = [Source(f"{n}.yaml", text) for n, text in enumerate(texts)]
        reads = (reader.read(source) for reader, source in zip(readers, sources, strict=True))
        found.append(tuple(reads))
        place = rng.randrange(3)
        files[place] = edited(files[place], rng)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_files_combined_again_are_what_they_are_combined_anew(seed: int) -> None:
    before: Loaded | None = None
    for parts in loads(seed):
        if before is None:
            before = combine(parts)
            continue
        owners = {item.ref: item.file for item in before.objects}
        again = recombine(parts, before)
        assert again == combine(parts, owners)
        assert all(again.find(item.ref) is item for item in again.objects)
        before = again


@pytest.mark.parametrize("seed", range(20))
def test_a_mesh_built_after_another_is_what_it_is_built_alone(seed: int) -> None:
    builder, addresses = MeshBuilder(), Addresses()
    before: Loaded | None = None
    for parts in loads(seed):
        before = combine(parts) if before is None else recombine(parts, before)
        assert builder.build(before.objects, addresses) == config.build(before.objects, addresses)


def test_what_an_edit_does_not_concern_is_the_same_value_in_the_next_mesh() -> None:
    reader, builder, addresses = FileReader(), MeshBuilder(), Addresses()
    parts = documents(16)
    loaded = combine([reader.read(Source("a.yaml", "---\n".join(parts)))])
    first, _ = builder.build(loaded.objects, addresses)
    parts[6] = parts[6].replace("subset: v1", "subset: v2")
    loaded = recombine([reader.read(Source("a.yaml", "---\n".join(parts)))], loaded)
    second, _ = builder.build(loaded.objects, addresses)
    assert second.services is first.services
    assert second.destination_rules is first.destination_rules
    assert second.workloads is first.workloads
    same = [
        one is other for one, other in zip(first.meta_routers, second.meta_routers, strict=True)
    ]
    assert sorted(same) == [False, True, True, True]


def test_a_workload_whose_services_stay_asks_for_no_address_again() -> None:
    workload = """apiVersion: meltemi.io/v1alpha1
kind: Workload
metadata: {name: w}
spec: {command: [x]}
"""
    asked: list[str] = []

    class Noted(Addresses):
        def address(self, key: str) -> str:
            asked.append(key)
            return super().address(key)

    builder, addresses = MeshBuilder(), Noted()
    loaded = config.load([Source("a.yaml", SERVICE.format(1)), Source("b.yaml", workload)])
    first, _ = builder.build(loaded.objects, addresses)
    assert len(asked) == 3
    builder.build(loaded.objects, addresses)
    assert len(asked) == 3
    services = SERVICE.format(1) + "---\n" + SERVICE.format(2)
    more = config.load([Source("a.yaml", services), Source("b.yaml", workload)])
    second, _ = builder.build(more.objects, addresses)
    assert len(asked) == 3 + 4  # all that is in use, so that the rest can be forgotten
    ((reached,), (more_reached,)) = (
        [instance.service_addresses for instance in mesh.workloads[0].instances]
        for mesh in (first, second)
    )
    assert set(reached) < set(more_reached)
    assert replace(second.workloads[0], instances=()) == replace(first.workloads[0], instances=())
