"""The xDS protocol: messages, both ends as state machines without I/O, and their gRPC shells.

`messages` and `resource` hold what travels, `server_state` and `client_state` decide, `server` and
`client` own the streams. Nothing here knows a mesh or an engine.
"""
