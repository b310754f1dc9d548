"""Assembly of the control plane: source, mesh, translator, xDS server, steering and admin APIs."""
