//! Who is behind an address.

use std::net::IpAddr;

use super::*;
use crate::messages::istio::workload::{Address, Workload, address::Type};

pub(super) fn workload(name: &str) -> Address {
    let workload = Workload {
        name: format!("{name}-0"),
        namespace: "default".to_owned(),
        canonical_name: "server".to_owned(),
        canonical_revision: "v1".to_owned(),
        workload_name: name.to_owned(),
        cluster_id: "local".to_owned(),
        addresses: vec![vec![127, 5, 0, 1]],
    };
    Address {
        r#type: Some(Type::Workload(workload)),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_workload_is_found_by_each_of_its_addresses() {
    let mut store = Store::new();
    let mut message = workload("server");
    if let Some(Type::Workload(workload)) = &mut message.r#type {
        workload
            .addresses
            .push([0; 15].into_iter().chain([1]).collect());
    }
    accept(&mut store, type_url::WORKLOAD, "uid", &message);
    let peers = &store.snapshot().peers;
    let peer = &peers[&ip("127.5.0.1")];
    let words = [
        &peer.workload,
        &peer.namespace,
        &peer.app,
        &peer.version,
        &peer.cluster,
    ];
    assert_eq!(
        words.map(|word| &**word),
        ["server", "default", "server", "v1", "local"]
    );
    assert_eq!(peers[&ip("::1")], *peer);
}

#[test]
fn a_workload_without_addresses_is_found_by_the_name_of_its_resource() {
    let mut message = workload("server");
    if let Some(Type::Workload(workload)) = &mut message.r#type {
        workload.addresses.clear();
    }
    for name in ["127.5.0.9", "network/127.5.0.9"] {
        let mut store = Store::new();
        accept(&mut store, type_url::WORKLOAD, name, &message);
        assert!(store.snapshot().peers.contains_key(&ip("127.5.0.9")));
    }
    let said = refusal(type_url::WORKLOAD, "uid", &message);
    assert_eq!(
        said,
        r#"uid: workload.addresses: is empty, and the name "uid" is no IP address"#
    );
}

#[test]
fn a_workload_that_leaves_is_no_peer_any_more() {
    let mut store = Store::new();
    accept(&mut store, type_url::WORKLOAD, "a", &workload("a"));
    let rejected = store.update(type_url::WORKLOAD, "2", &[], &["a"]);
    assert_eq!(rejected, []);
    assert!(store.snapshot().peers.is_empty());
}

#[test]
fn of_two_workloads_with_one_address_the_first_by_name_has_it() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut store = Store::new();
        for name in order {
            accept(&mut store, type_url::WORKLOAD, name, &workload(name));
        }
        assert_eq!(&*store.snapshot().peers[&ip("127.5.0.1")].workload, "a");
    }
}

#[test]
fn an_address_of_an_odd_length_is_refused() {
    let mut message = workload("a");
    if let Some(Type::Workload(workload)) = &mut message.r#type {
        workload.addresses = vec![vec![127, 0, 0]];
    }
    let said = refusal(type_url::WORKLOAD, "a", &message);
    assert_eq!(
        said,
        "a: workload.addresses[0]: 3 bytes, but an IP address has 4 or 16"
    );
    assert!(refusal(type_url::WORKLOAD, "a", &Address::default()).contains("workload: is missing"));
}
