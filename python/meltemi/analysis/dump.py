"""What a node would get, without a running mesh."""

from __future__ import annotations

from typing import Any, Final

from meltemi.analysis.places import Replica, node
from meltemi.model import Mesh
from meltemi.translate import Translator
from meltemi.xds import messages
from meltemi.xds.resource import Client

SECTIONS: Final = {
    "listeners": messages.LISTENER,
    "routes": messages.ROUTE,
    "clusters": messages.CLUSTER,
    "endpoints": messages.ENDPOINT,
}


def resources(mesh: Mesh, of: Replica, client: Client) -> dict[str, dict[str, Any]]:
    """`listeners`, `routes`, `clusters`, `endpoints`: each by name, as canonical protobuf JSON
    with its `@type`. For Kitex also `names`: the name table, by hostname."""
    found = Translator().resources(mesh, node(of, client))
    shown = {
        section: {
            name: messages.any_to_json(type_url, resource.body, proto_names=False)
            for name, resource in sorted(found[type_url].items())
        }
        for section, type_url in SECTIONS.items()
    }
    for name, resource in found.get(messages.EXTENSION_CONFIG, {}).items():
        body = messages.any_to_json(messages.EXTENSION_CONFIG, resource.body, proto_names=False)
        shown.setdefault("extensions", {})[name] = body
    for table in found[messages.NAME_TABLE].values():
        body = messages.any_to_json(messages.NAME_TABLE, table.body, proto_names=False)
        shown["names"] = body.get("table", {})
    return shown
