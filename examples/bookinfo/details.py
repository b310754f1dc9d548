"""details: what there is to know of a book; of every book the same."""

from typing import Any

import thrift_app

idl = thrift_app.idl("details")

TITLE = "《Also sprach Zarathustra》"
AUTHOR = "Friedrich Nietzsche"
DESCRIPTION = (
    "A hermit comes down from his mountain to tell people what he has understood: that man is "
    "something to be overcome. Few listen, and he begins again. A book for all and none."
)


class DetailsService:
    async def GetProduct(self, req: Any) -> Any:
        return idl.GetProductResp(idl.Product(req.ID, TITLE, AUTHOR, DESCRIPTION))


if __name__ == "__main__":
    thrift_app.run(idl.DetailsService, DetailsService())
