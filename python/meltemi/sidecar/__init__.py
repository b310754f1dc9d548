"""Assembly of one sidecar: xDS client, engine, admin API, signals. Kept small: a mesh has many."""
