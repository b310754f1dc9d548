"""The annotation `interface` of a ServiceEntry: the Dubbo interface that its host stands for.

Aeraki's way to name an interface, whose capitals a host cannot have (dubbo2istio writes it so).
Rules name the host; `explain` takes the interface for it, and a MetaRouter that asks for another is
warned of (`references`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meltemi.config.check import Object
from meltemi.config.issues import Issue
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
