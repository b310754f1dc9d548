"""The annotation `interface` of a ServiceEntry: the Dubbo interface that its host stands for.

Aeraki's way to name an interface, whose capitals a host cannot have (dubbo2istio writes it so).
Rules name the host; `explain` takes the interface for it, and a MetaRouter that asks for another is
warned of (`references`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meltemi.config.check import Object
from meltemi.config.issues import Issue, Path
from meltemi.config.schema.meta_router import Match, MetaRouterSpec
from meltemi.model import Service
from meltemi.model.protocol import BUILT_IN_CODECS

ANNOTATION: Final = "interface"
ATTRIBUTE: Final = "interface"
_NAME = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")
_PATH = ("metadata", "annotations", ANNOTATION)


def of(item: Object) -> str:
    """The interface that it says, "" where there is none that a request could name."""
    name = (item.metadata.annotations or {}).get(ANNOTATION, "")
    return name if _NAME.fullmatch(name) else ""


def check(item: Object, service: Service, codecs: Mapping[str, str]) -> Iterator[Issue]:
    """Warnings where the annotation does nothing: others may mean something else by it."""
    name = (item.metadata.annotations or {}).get(ANNOTATION)
    if name is None:
        return
    dubbo = BUILT_IN_CODECS["dubbo"]
    if all(codecs.get(port.protocol) != dubbo for port in service.ports):
        yield item.issue(
            _PATH, "warning", "no-effect",
            "the annotation interface names a Dubbo interface, and no port here speaks Dubbo",
            "name the port tcp-metaprotocol-dubbo",
        )  # fmt: skip
    elif not _NAME.fullmatch(name):
        yield item.issue(
            _PATH, "warning", "bad-interface",
            f"{name!r} is not the name of a Java interface: no request has it",
            "such as org.apache.dubbo.samples.basic.api.DemoService",
        )  # fmt: skip


def others(item: Object, spec: MetaRouterSpec, interface: str) -> Iterator[Issue]:
    """Warnings where a rule for the host of `interface` ("": of none) asks for another one."""
    limit = spec.local_rate_limit
    matches: list[tuple[Path, Match | None]] = [
        (("spec", "routes", number), route.match) for number, route in enumerate(spec.routes or ())
    ]
    matches += [
        (("spec", "localRateLimit", "conditions", number), condition.match)
        for number, condition in enumerate((limit and limit.conditions) or ())
    ]
    for path, match in matches if interface else ():
        for name, wanted in ((match and match.attributes) or {}).items():
            same = wanted.exact in (None, "", interface)
            if name.lower() != ATTRIBUTE or (same and interface.startswith(wanted.prefix or "")):
                continue
            yield item.issue(
                (*path, "match", "attributes", name), "warning", "other-interface",
                f"this matches no request for {interface}, which the host stands for",
                f"exact: {interface}, or no condition on it",
            )  # fmt: skip
