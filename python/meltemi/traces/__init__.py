"""Traces that processes of a mesh export: read (`otlp`), kept (`store`), understood (`hops`,
`graph`) and served (`receiver`). All but the receiver is pure: time is an argument."""
