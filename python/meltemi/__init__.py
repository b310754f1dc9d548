"""Meltemi: the layer-7 traffic of any RPC protocol, with Istio's YAML."""

__version__ = "0.1.0"
