//! The hash of a request: which parts count, and how they come together.

use std::net::IpAddr;

use meltemi_routing::{Attributes, HashPolicy, HashSource, hash_of_address};

struct Request(&'static [(&'static str, &'static str)]);

impl Attributes for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value.as_bytes())
    }
}

fn attribute(name: &str, terminal: bool) -> HashPolicy {
    HashPolicy {
        source: HashSource::Attribute(name.into()),
        terminal,
    }
}

const CALLER: HashPolicy = HashPolicy {
    source: HashSource::SourceIp,
    terminal: false,
};
const REQUEST: Request = Request(&[("a", "1"), ("b", ""), ("same", "1")]);

fn hash(of: &[HashPolicy]) -> Option<u64> {
    HashPolicy::hash(of, &REQUEST, Some(IpAddr::from([127, 0, 0, 1])))
}

#[test]
fn it_is_xxhash64_of_the_value() {
    // From the algorithm's own test vectors: the empty input with seed 0.
    assert_eq!(hash(&[attribute("b", false)]), Some(0xEF46_DB37_51D8_E999));
}

#[test]
fn what_is_missing_adds_nothing_and_nothing_at_all_is_no_hash() {
    let (a, missing) = (attribute("a", false), attribute("none", true));
    assert_eq!(hash(&[]), None);
    assert_eq!(hash(std::slice::from_ref(&missing)), None);
    let alone = hash(std::slice::from_ref(&a));
    assert!(alone.is_some());
    assert_eq!(hash(&[missing.clone(), a.clone()]), alone);
    assert_eq!(hash(&[a, missing]), alone);
    assert_eq!(HashPolicy::hash(&[CALLER], &REQUEST, None), None);
}

#[test]
fn equal_parts_do_not_cancel_each_other_and_their_order_counts() {
    let (a, b, same) = (
        attribute("a", false),
        attribute("b", false),
        attribute("same", false),
    );
    let alone = hash(std::slice::from_ref(&a)).unwrap();
    assert_eq!(hash(&[a.clone(), same]), Some(alone.rotate_left(1) ^ alone));
    assert_ne!(hash(&[a.clone(), b.clone()]), hash(&[b, a]));
}

#[test]
fn behind_a_terminal_part_that_is_there_nothing_counts() {
    let (ends, b) = (attribute("a", true), attribute("b", false));
    assert_eq!(
        hash(&[ends.clone(), b.clone()]),
        hash(std::slice::from_ref(&ends))
    );
    assert_ne!(hash(&[b.clone(), ends.clone()]), hash(&[b]));
}

#[test]
fn a_caller_is_hashed_as_its_address_is_written_without_a_port() {
    assert_eq!(
        hash(&[CALLER]),
        Some(hash_of_address(IpAddr::from([127, 0, 0, 1])))
    );
    let written = Request(&[("ip", "fd00::1")]);
    let by_name = HashPolicy::hash(&[attribute("ip", false)], &written, None);
    assert_eq!(Some(hash_of_address("fd00::1".parse().unwrap())), by_name);
    let longest: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
    let other: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8889".parse().unwrap();
    assert_ne!(hash_of_address(longest), hash_of_address(other));
}
