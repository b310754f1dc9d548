"""Who is at an address, for metrics and logs of calls whose protocol carries nothing about it."""

from __future__ import annotations

import ipaddress
from typing import Any

from meltemi.model import Instance, Workload
from meltemi.translate.endpoints import CLUSTER_ID, app_name, app_version
from meltemi.xds import messages


def address(workload: Workload, instance: Instance) -> Any:
    """`istio.workload.Address` of one replica; its resource is named by the IP."""
    labels, pod = dict(workload.labels), workload.pod(instance)
    return messages.message("istio.workload.Address")(
        workload={
            "uid": f"{CLUSTER_ID}//Pod/{workload.namespace}/{pod}",
            "name": pod,
            "namespace": workload.namespace,
            "addresses": [ipaddress.ip_address(instance.address).packed],
            "workload_type": "DEPLOYMENT",
            "workload_name": workload.name,
            "canonical_name": app_name(labels, workload.name),
            "canonical_revision": app_version(labels),
            "cluster_id": CLUSTER_ID,
        }
    )
