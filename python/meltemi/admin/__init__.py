"""What the admin sides of both processes share: a small HTTP server, who may call it, the log.

Used by `meltemi.controlplane` and `meltemi.sidecar`. It stands on h11 rather than on starlette and
uvicorn, because a mesh has a sidecar for each replica: 8 MB and ten wake-ups a second less each."""
