"""Questions about a mesh: what a node would get, and where a request would go.

The decisions are the engine's and the resources are `translate`'s: here they are put into words.
Asked by the commands, and by the control plane for the mesh that runs."""
