"""ratings: how many stars a book has: what RATINGS_VALUE says, whatever the book."""

import os
from typing import Any

import thrift_app

idl = thrift_app.idl("ratings")


def stars(text: str) -> int:
    """From -128 to 127; 1 where the text is no such number."""
    try:
        value = int(text)
    except ValueError:
        return 1
    return value if -128 <= value <= 127 else 1


class RatingService:
    async def ratings(self, req: Any) -> Any:
        return idl.RatingResp(stars(os.environ.get("RATINGS_VALUE", "")))


if __name__ == "__main__":
    thrift_app.run(idl.RatingService, RatingService())
