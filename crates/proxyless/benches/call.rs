//! What it costs to choose an endpoint and to note how its call ended:
//! `cargo bench -p meltemi-proxyless`.

#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/calls/bed.rs"]
mod bed;

use std::time::Duration;

use bed::{Calls, Headers, Mesh, cluster, only, to, weighted};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const HEADERS: Headers<'_> = &[
    ("method", "ReviewProduct"),
    ("service", "reviews.ReviewsService"),
    (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    ("baggage", "env=prod"),
];

/// One of two routes, one of two clusters, one of three endpoints.
#[divan::bench]
fn call(bencher: Bencher<'_, '_>) {
    let routes = vec![
        only("dev", "baggage", "env=dev", to("v2")),
        weighted([("v1", 80), ("v2", 20)]),
    ];
    let router = Mesh::of(routes, [cluster("v1", [1, 2, 3]), cluster("v2", [4])]).router();
    bencher.bench_local(|| {
        let mut call = router.to_reviews(black_box(HEADERS)).unwrap();
        call.succeeded(None, Duration::ZERO);
        call
    });
}

/// The same with 200 endpoints, and what is ejected of them.
#[divan::bench]
fn call_of_200_endpoints(bencher: Bencher<'_, '_>) {
    let mut large = cluster("v1", 1..=200);
    large.policy = meltemi_resources::Policy::LeastRequest;
    large.outlier = Some(Box::new(bed::outliers(5, bed::ms(30_000))));
    let router = Mesh::of(vec![to("v1")], [large]).router();
    bencher.bench_local(|| {
        let mut call = router.to_reviews(black_box(HEADERS)).unwrap();
        call.succeeded(None, Duration::ZERO);
        call
    });
}
