//! No bytes make a store panic, and none that it refuses change it.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::client::{api_listener, every_field, inline_listener};
use super::*;
use crate::ClientStore;

/// Valid resources of every type, to be broken.
fn seeds() -> Vec<Vec<u8>> {
    let exact = route::header_matcher::HeaderMatchSpecifier::ExactMatch("sayHello".to_owned());
    vec![
        super::listeners::rds_listener("n", "r").encode_to_vec(),
        tcp_listener("n", "127.0.0.1", 1, "c").encode_to_vec(),
        route_configuration(
            "n",
            vec![to_cluster("r", vec![header("method", exact)], "c")],
        )
        .encode_to_vec(),
        static_cluster("n", vec![lb_endpoint("127.0.0.1", 9090)]).encode_to_vec(),
        eds_cluster("n", "s").encode_to_vec(),
        assignment("n", vec![lb_endpoint("::1", 9090)]).encode_to_vec(),
        super::workloads::workload("n").encode_to_vec(),
        api_listener("n", "r").encode_to_vec(),
        inline_listener("n").encode_to_vec(),
        every_field("n").encode_to_vec(),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let broken = (
        prop::sample::select(seeds()),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    )
        .prop_map(|(mut bytes, edits)| {
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 4 => broken]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn arbitrary_bytes_apply_or_are_refused(
        updates in vec((prop::sample::select(TYPES.to_vec()), bytes()), 1..5),
    ) {
        let mut store = Store::new();
        for (type_url, bytes) in updates {
            let before = store.snapshot();
            let rejected = store.update(type_url, "1", &[("n", &bytes)], &[]);
            prop_assert!(rejected.len() <= 1);
            if !rejected.is_empty() {
                prop_assert!(Arc::ptr_eq(&before, &store.snapshot()));
            }
        }
    }

    #[test]
    fn a_client_takes_arbitrary_bytes_or_refuses_them(
        updates in vec((prop::sample::select(TYPES.to_vec()), bytes()), 1..5),
    ) {
        let mut store = ClientStore::new();
        for (type_url, bytes) in updates {
            let before = store.snapshot();
            let rejected = store.update(type_url, "1", &[("n", &bytes)], &[]);
            prop_assert!(rejected.len() <= 1);
            if !rejected.is_empty() {
                prop_assert!(Arc::ptr_eq(&before, &store.snapshot()));
            }
        }
    }
}
