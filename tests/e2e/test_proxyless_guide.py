"""docs/proxyless-guide.md is followed, step by step, on the mesh of examples/proxyless."""

from __future__ import annotations

import json
import os
import pydoc
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from documents import ROOT, block, blocks
from meltemi import proxyless
from meltemi.proxyless.mesh import Mesh as ProxylessMesh
from mesh import Mesh, eventually, running

PAGE = "docs/proxyless-guide.md"
EXAMPLE = ROOT / "examples" / "proxyless"
SERVICES = ("details", "reviews", "ratings")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("guide") / "examples" / "proxyless"
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(EXAMPLE, directory, ignore=ignored)
    with running(directory) as mesh:
        logs = [f"{name.partition('.')[0]}-0.shop" for name in mesh.workloads()]
        eventually(lambda: all("listening on" in mesh.log(log) for log in logs), 30)
        yield mesh


def ran(program: str, shop: Mesh) -> str:
    """What a program of the page prints in the second terminal, and nothing but that."""
    xds = shop.meltemi("status", "-o", "json").json()["xds"]
    own = {"MELTEMI_XDS_ADDRESS": xds, "POD_NAMESPACE": "shop", "MELTEMI_XDS_LAST_KNOWN": "off"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shop.directory.parents[1],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.rstrip("\n")


def one_side(diff: str, sign: str) -> str:
    """The program before ("-") or after ("+") a change."""
    return "\n".join(line[1:] for line in diff.splitlines() if line[:1] in ("", " ", sign))


@pytest.mark.parametrize("service", SERVICES)
def test_the_client_before_calls_the_endpoint_that_it_names(service: str, shop: Mesh) -> None:
    before = one_side(block(PAGE, service).text, "-")
    assert "meltemi" not in before.replace("examples", "")
    assert "127.0.0.9" in before
    address = shop.environment(f"{service}-v2.shop")["INSTANCE_IP"]
    assert ran(before.replace("127.0.0.9", address), shop) == "v2"


@pytest.mark.parametrize("service", SERVICES)
def test_the_client_after_follows_the_rules(service: str, shop: Mesh) -> None:
    after = one_side(block(PAGE, service).text, "+")
    assert ran(after, shop) == "v1"
    changed = [line for line in block(PAGE, service).text.splitlines() if line[:1] == "+"]
    assert len(changed) == 2, "two lines, as the page says"


def test_baggage_moves_a_call(shop: Mesh) -> None:
    assert ran(block(PAGE, "lane").text, shop).split() == ["v1", "v2"]


def test_an_explanation_names_route_and_cluster(shop: Mesh) -> None:
    said = ran(block(PAGE, "why").text, shop)
    assert said == "dev outbound|9080|v2|details.shop.svc.cluster.local"


def test_a_wrong_name_is_answered_with_what_is_missing_and_what_would_be_right(shop: Mesh) -> None:
    said = ran(block(PAGE, "wrong").text, shop)
    assert said.startswith("ConnectError: cannot call http://detials:9080: Listener 'detials:9080'")
    assert "does not exist" in said
    assert "SERVICE.NAMESPACE:PORT" in said


def test_the_rule_of_the_page_is_one_of_the_examples_and_splits(shop: Mesh) -> None:
    (text,) = (each.text for each in blocks(PAGE) if "VirtualService" in each.text)
    new = yaml.safe_load(text)
    rules = shop.directory / "rules.yaml"
    before = rules.read_text()
    documents = list(yaml.safe_load_all(before))
    names = [each["metadata"]["name"] for each in documents]
    documents[names.index(new["metadata"]["name"])] = new
    program = block(PAGE, "details").text
    many = (
        one_side(program, "+")
        .replace("print(", "print(*(")
        .replace('["version"])', '["version"] for _ in range(100)))')
    )
    saved(rules, yaml.safe_dump_all(documents))
    try:
        found = eventually(lambda: ("v2" in (said := ran(many, shop).split())) and said, 20)
        assert found
        assert abs(ran(many, shop).split().count("v2") - 80) <= 2
    finally:
        saved(rules, before)


def saved(path: Path, text: str) -> None:
    """As an editor does it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_what_the_workloads_know_is_kept_with_the_mesh(shop: Mesh) -> None:
    folder = shop.directory / ".meltemi" / "last-known"
    eventually(lambda: len(list(folder.glob("*.json"))) == 3, 20)  # the front and two reviews
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_readme_of_the_example_shows_what_the_front_answers(shop: Mesh) -> None:
    readme = (EXAMPLE / "README.md").read_text()
    (front,) = shop.workloads()["front.shop"]["instances"]
    url = f"http://{front['address']}:8000/"
    for options, shown in re.findall(r"^\$ curl (.*?)http\S+.*\n(\{.*\})$", readme, re.M):
        header = re.findall(r"'(.*?)'", options)
        asked = ["curl", "-s", *(word for each in header for word in ("-H", each)), url]
        answered = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout
        assert json.loads(answered) == json.loads(shown)


def test_what_the_page_says_of_other_commands_is_so(shop: Mesh) -> None:
    text = (ROOT / PAGE).read_text()
    for command in ("analyze examples/proxyless", "explain details.shop --from front.shop"):
        assert f"`meltemi {command}" in text
    explained = shop.meltemi("explain", "details.shop", "--from", "front.shop", "--path", "/Emma")
    assert (explained.code, "takes route rest" in explained.out) == (0, True)
    found = shop.meltemi("analyze", str(shop.directory), mesh=False)
    assert found.code == 0, found.err


def test_a_call_that_no_route_takes_is_told_how_to_see_why(shop: Mesh) -> None:
    rules = shop.directory / "rules.yaml"
    before = rules.read_text()
    documents = list(yaml.safe_load_all(before))
    (own,) = (each for each in documents if each["spec"]["hosts"] == ["details"])
    own["spec"]["http"] = own["spec"]["http"][:1]  # the lane of env=dev alone
    program = block(PAGE, "wrong").text.replace("detials", "details")
    saved(rules, yaml.safe_dump_all(documents))
    try:
        assert eventually(lambda: ran(program, shop), 20)
        said = ran(program, shop)
        assert said.startswith("ConnectError: none of the 1 routes of virtual host")
        assert said.endswith("mesh.explain says why, route by route")
    finally:
        saved(rules, before)


def test_help_of_the_package_begins_with_how_it_is_used() -> None:
    text = pydoc.plain(pydoc.render_doc(proxyless))
    for client in ("thrift", "grpc", "httpx", "thrift_async", "grpc_aio", "httpx_async"):
        assert f"mesh.{client}" in text.partition("PACKAGE CONTENTS")[0]
        assert getattr(ProxylessMesh, client).__doc__


def test_the_clients_of_the_readme_call_the_shop(shop: Mesh) -> None:
    before = (
        'import thriftpy2\nshop = thriftpy2.load("examples/proxyless/shop.thrift", "shop_thrift")\n'
    )
    after = """
print(details.get("/Emma").json()["version"], reviews.one("Emma").stars_by)
print(ratings.unary_unary("/shop.Ratings/One")(b"Emma", timeout=3).decode())
"""
    said = ran(before + block("README.md", "proxyless").text + after, shop)
    assert "route: rest" in said
    assert said.split()[-3:] == ["v1", "v1", "v1"]
