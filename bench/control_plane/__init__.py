"""The control plane beside what it cannot be without: a YAML reader, a gRPC server, an import.

Plain functions that measure ours and the peer in one run, interleaved; `bench/run.py` makes the
rows of its table of them. `documents` writes the meshes that are measured."""
