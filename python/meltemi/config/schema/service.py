"""`Service` of Kubernetes v1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from meltemi.config.schema.types import Integer, IntOrString, Labels, NotYet, Port, Schema, not_yet


class ServicePort(Schema):
    name: str | None = None
    port: Port
    target_port: IntOrString | None = None
    protocol: Annotated[Literal["TCP", "UDP", "SCTP"] | None, NotYet(but=(None, "TCP"))] = None
    app_protocol: str | None = None
    node_port: Annotated[Integer | None, not_yet] = None


class ServiceSpec(Schema):
    ports: list[ServicePort] | None = None
    selector: Labels | None = None
    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None,
        NotYet(but=(None, "ClusterIP"), hint="the service is reached from inside the mesh only"),
    ] = None
    cluster_ip: Annotated[str | None, Field(alias="clusterIP"), not_yet] = None
    cluster_ips: Annotated[list[str] | None, Field(alias="clusterIPs"), not_yet] = None
    external_ips: Annotated[list[str] | None, Field(alias="externalIPs"), not_yet] = None
    session_affinity: Annotated[Literal["None", "ClientIP"] | None, NotYet(but=(None, "None"))] = (
        None
    )
    session_affinity_config: Annotated[dict[str, Any] | None, not_yet] = None
    load_balancer_ip: Annotated[str | None, Field(alias="loadBalancerIP"), not_yet] = None
    load_balancer_source_ranges: Annotated[list[str] | None, not_yet] = None
    load_balancer_class: Annotated[str | None, not_yet] = None
    allocate_load_balancer_node_ports: bool | None = None
    external_name: Annotated[str | None, not_yet] = None
    external_traffic_policy: Annotated[Literal["Cluster", "Local"] | None, not_yet] = None
    internal_traffic_policy: Annotated[
        Literal["Cluster", "Local"] | None, NotYet(but=(None, "Cluster"))
    ] = None
    health_check_node_port: Annotated[Integer | None, not_yet] = None
    publish_not_ready_addresses: Annotated[bool | None, not_yet] = None
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    traffic_distribution: Annotated[str | None, not_yet] = None
