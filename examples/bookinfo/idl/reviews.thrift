namespace go cwg.bookinfo.reviews
namespace py reviews

enum ReviewType {
    Local = 0
    Blue = 1
    Green = 2
}

struct Review {
    1: required ReviewType Type
    2: required i8 Rating
}

struct ReviewReq {
    1: required string ProductID
}

struct ReviewResp {
    1: required Review Review
}

service ReviewsService {
    ReviewResp ReviewProduct(1: ReviewReq req)
}
