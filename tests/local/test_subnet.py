from __future__ import annotations

from pathlib import Path

from meltemi.local.subnet import Subnet


def test_a_mesh_gets_back_the_subnet_it_had() -> None:
    first = Subnet.take(Path("/mesh/a"))
    first.close()
    again = Subnet.take(Path("/mesh/b"), preferred=first.prefix)
    assert again.prefix == first.prefix
    again.close()


def test_two_meshes_never_share_a_subnet() -> None:
    held = [Subnet.take(Path("/mesh/same")) for _ in range(3)]
    assert len({subnet.prefix for subnet in held}) == 3
    for subnet in held:
        subnet.close()


def test_a_subnet_that_another_holds_is_passed_over() -> None:
    first = Subnet.take(Path("/mesh/a"))
    second = Subnet.take(Path("/mesh/b"), preferred=first.prefix)
    assert second.prefix != first.prefix
    first.close()
    second.close()
