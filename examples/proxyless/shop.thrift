namespace go shop

struct Review {
    1: string version
    2: string text
    3: string stars_by
}

service Reviews {
    Review one(1: string book)
}
