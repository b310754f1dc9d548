"""To explain a call is not to make one."""

from __future__ import annotations

from mesh_fixtures import Connect, Serve

ENDPOINTS = ("127.0.0.1:1001", "127.0.0.1:1002")


def test_an_explanation_takes_no_turn(serve: Serve, connect: Connect) -> None:
    server = serve()
    server.service("books:9080", "books", *ENDPOINTS)
    mesh = connect(server.address)
    target = mesh.target("books:9080")
    called = []
    for _ in range(4):
        call = mesh.call(target, "/")
        called.append(call.address)
        call.succeeded()
        mesh.explain(target, path="/")
    assert called[:2] == called[2:]
    assert set(called) == set(ENDPOINTS)
