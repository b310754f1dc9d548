"""reviews: asks ratings for the stars of a book, unless ENABLE_RATINGS=disable (v3)."""

import os
from typing import Any

import thrift_app
from meltemi import proxyless
from meltemi.proxyless.thrift import answer_with

idl = thrift_app.idl("reviews")
ratings_idl = thrift_app.idl("ratings")


class ReviewsService:
    """Without `ratings` every book is of the kind Local, and has no stars."""

    def __init__(self, ratings: Any) -> None:
        self._ratings = ratings

    async def ReviewProduct(self, req: Any) -> Any:
        if self._ratings is None:
            return idl.ReviewResp(idl.Review(idl.ReviewType.Local, 0))
        request = ratings_idl.RatingReq(req.ProductID)
        found = await thrift_app.asked("ratings", self._ratings.ratings(request))
        answer_with("served-by", f"{thrift_app.ME},{found.served_by}")
        return idl.ReviewResp(idl.Review(idl.ReviewType.Green, found.value.Rating))


def ratings_client() -> Any:
    """Speaks TTHeader, or what else an instance of ratings understands."""
    mesh = proxyless.connect()
    return mesh.thrift_async("ratings:8083", ratings_idl.RatingService, timeout_s=2)


if __name__ == "__main__":
    asks = os.environ.get("ENABLE_RATINGS") != "disable"
    thrift_app.run(idl.ReviewsService, ReviewsService(ratings_client() if asks else None))
