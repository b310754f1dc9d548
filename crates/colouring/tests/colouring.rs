//! What the table of cases in Python (`tests/lanes/colouring_cases.py`) does not reach.

use meltemi_colouring::{Changes, Entry, Group, Lane, Network, Plan, Request, Share, ShareBy};

fn group(key: &str, trusted: &[&str], entry: Entry) -> Group {
    let trusted = trusted
        .iter()
        .map(|text| Network::parse(text).expect("a network"));
    let lane = Lane {
        name: "dev".to_owned(),
        entries: vec![entry],
    };
    Group {
        key: key.to_owned(),
        trusted: trusted.collect(),
        lanes: vec![lane],
    }
}

fn everybody() -> Entry {
    by_chance(100)
}

fn by_chance(percent: u8) -> Entry {
    Entry {
        conditions: Vec::new(),
        share: Some(Share {
            percent,
            by: ShareBy::Request,
        }),
    }
}

fn request(source: &str, chance: u64) -> Request<'static> {
    Request {
        method: b"GET",
        path: b"/",
        query: b"",
        source: source.parse().ok(),
        chance,
    }
}

#[test]
fn a_network_ends_where_its_prefix_says() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.1/32", "10.0.0.1", "10.0.0.0"),
        ("0.0.0.0/0", "::ffff:1.2.3.4", "::1"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("::/0", "fe80::1", "1.2.3.4"),
    ] {
        let network = Network::parse(network).expect("a network");
        assert!(
            network.holds(inside.parse().expect("an address")),
            "{inside}"
        );
        assert!(
            !network.holds(outside.parse().expect("an address")),
            "{outside}"
        );
    }
    for wrong in [
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0",
        "/8",
        "a/8",
        "10.0.0.0/",
    ] {
        assert_eq!(Network::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_share_by_chance_is_as_large_as_it_says() {
    let plan = Plan::new(Some(vec![group("env", &[], by_chance(20))]));
    let coloured = |chance| plan.changes(&[], &request("10.0.0.1", chance)).is_some();
    let found = (0..10_000).filter(|chance| coloured(*chance)).count();
    assert!(found.abs_diff(2000) < 160, "{found}"); // four standard deviations
}

#[test]
fn as_long_as_nothing_is_known_all_baggage_goes() {
    let plan = Plan::new(None);
    let headers: [(&[u8], &[u8]); 3] = [(b"baggage", b"a=1"), (b"uid", b"1"), (b"uberctx-a", b"1")];
    let wanted = Changes {
        values: vec![(0, None), (2, None)],
        added: Vec::new(),
    };
    assert_eq!(
        plan.changes(&headers, &request("10.0.0.1", 0)),
        Some(wanted)
    );
}

#[test]
fn what_needs_no_change_is_not_touched() {
    let plan = Plan::new(Some(vec![group("env", &["10.0.0.0/8"], everybody())]));
    let headers: [(&[u8], &[u8]); 1] = [(b"baggage", b" a=1;p , env = x,,")];
    assert_eq!(plan.changes(&headers, &request("10.0.0.1", 0)), None);
}

#[test]
fn no_bytes_make_it_panic_and_no_mark_stays() {
    let plan = Plan::new(Some(vec![group("env", &[], Entry::default())]));
    let pieces: [&[u8]; 12] = [
        b"env", b"%65nv", b"ENV", b"=", b";", b",", b"%", b"%6", b"\xff", b" ", b"+", b"\0",
    ];
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };
    for _ in 0..20_000 {
        let list: Vec<u8> = (0..next() % 12)
            .flat_map(|_| pieces[next() % 12].to_vec())
            .collect();
        let headers: [(&[u8], &[u8]); 1] = [(b"baggage", &list)];
        let made = plan
            .changes(&headers, &request("10.0.0.1", 0))
            .expect("everybody gets a mark");
        let value = match made.values.as_slice() {
            [(0, Some(value))] => value.clone(),
            _ => made.added,
        };
        let own = value
            .strip_suffix(b"env=dev")
            .expect("our own mark is the last");
        for member in own.split(|byte| *byte == b',') {
            assert!(
                !member.starts_with(b"env=") && !member.starts_with(b"env;"),
                "{list:?}"
            );
        }
    }
}
