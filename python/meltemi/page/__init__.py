"""The page of Bookinfo, built from `page/` of the repository, and what serves it.

`page.asgi(app)` is an ASGI application: the page at `/`, the traces and the graph of the mesh at
`/api/v1/traces/ID` and `/api/v1/graph`; all else is asked of `app`."""

from meltemi.page.files import FOLDER, File, files
from meltemi.page.serving import asgi

__all__ = ["FOLDER", "File", "asgi", "files"]
