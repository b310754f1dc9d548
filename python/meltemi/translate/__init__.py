"""From the model to the xDS resources of one node, by what kind of client it is.

`Translator` is the door: `controlplane` asks it for each node of each new mesh, `analysis` and
`meltemi dump-xds` offline. What it returns is sent by `meltemi.xds.server`."""

from meltemi.translate.translator import Resources, Translator

__all__ = ["Resources", "Translator"]
