namespace go cwg.bookinfo.details
namespace py details

struct Product {
    1: required string ID
    2: required string Title
    3: required string Author
    4: required string Description
}

struct GetProductReq {
    1: required string ID
}

struct GetProductResp {
    1: required Product Product
}

service DetailsService {
    GetProductResp GetProduct(1: GetProductReq req)
}
