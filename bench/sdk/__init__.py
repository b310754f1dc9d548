"""What a call without a sidecar costs, beside bare thriftpy2 and beside proxies; what its first
call asks of the control plane, and what its process holds in memory.

Each module can be run by itself, from `bench`: `python -m sdk.calling`."""
