
use super::*;
use prost::Message;
#[test]
fn measure() {
    let make = |suffix: &str| {
        let routes = (0..10_000).map(|p| {
            let exact = route::header_matcher::HeaderMatchSpecifier::ExactMatch(format!("method{p:05}{suffix}"));
            to_cluster(&format!("route{p}"), vec![header("method", exact)], "outbound|9090|v1|server.default.svc.cluster.local")
        }).collect();
        route_configuration("r", routes).encode_to_vec()
    };
    let (a, b) = (make("a"), make("b"));
    let mut store = Store::new();
    let mut best = f64::MAX;
    for turn in 0..40 {
        let bytes = if turn % 2 == 0 { &a } else { &b };
        let start = std::time::Instant::now();
        assert!(store.update(type_url::ROUTE, "1", &[("r", bytes)], &[]).is_empty());
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("best {:.1} ms for {} bytes", best * 1e3, a.len());
}
