//! What a new version of a route configuration costs: `cargo bench -p meltemi-resources`.

use divan::Bencher;
use meltemi_resources::{Store, type_url};

fn main() {
    divan::main();
}

const ROUTES: usize = 10_000;

/// A field of the wire format whose value has a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
    out
}

/// A serialized `RouteConfiguration` of routes by exact method; `edited` is another method than it
/// was, `version` is part of all others.
fn configuration(version: &str, edited: Option<(usize, &str)>) -> Vec<u8> {
    let route = |place: usize| {
        let method = match edited {
            Some((at, method)) if at == place => method.to_owned(),
            _ => format!("method{version}{place:05}"),
        };
        let header = [field(1, b"method"), field(4, method.as_bytes())].concat();
        let wanted = [field(1, b"/"), field(6, &header)].concat();
        let name = format!("route{place}");
        let cluster = field(1, b"outbound|9090||server.default.svc.cluster.local");
        let parts = [
            field(14, name.as_bytes()),
            field(1, &wanted),
            field(2, &cluster),
        ];
        field(3, &parts.concat())
    };
    let routes: Vec<u8> = (0..ROUTES).flat_map(route).collect();
    let host = [field(1, b"all"), field(2, b"*"), routes].concat();
    [field(1, b"routes"), field(2, &host)].concat()
}

fn update(store: &mut Store, bytes: &[u8]) {
    let rejected = store.update(type_url::ROUTE, "", &[("routes", bytes)], &[]);
    assert_eq!(rejected, []);
}

#[divan::bench]
fn all_of_10_000_routes_are_new(bencher: Bencher<'_, '_>) {
    let versions = [configuration("a", None), configuration("b", None)];
    let mut store = Store::new();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        update(&mut store, &versions[turn % 2]);
    });
}

#[divan::bench]
fn one_of_10_000_routes_is_new(bencher: Bencher<'_, '_>) {
    let edited = |method| configuration("a", Some((ROUTES / 2, method)));
    let versions = [edited("one"), edited("another")];
    let mut store = Store::new();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        update(&mut store, &versions[turn % 2]);
    });
}
