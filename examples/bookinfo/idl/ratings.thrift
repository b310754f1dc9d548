namespace go cwg.bookinfo.ratings
namespace py ratings

struct RatingReq {
    1: required string ProductID
}

struct RatingResp {
    1: required i8 Rating
}

service RatingService {
    RatingResp ratings(1: RatingReq req)
}
