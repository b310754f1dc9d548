"""Runs a mesh as processes of one machine: `meltemi up`."""
