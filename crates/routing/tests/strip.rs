//! Which attributes hold marks, and what stays of them.

use meltemi_routing::{Marks, Mutation, Unmarked};
use proptest::prelude::*;

fn env() -> Marks {
    Marks::new(["env"]).expect("a key")
}

fn left(name: &str, value: &str) -> Option<String> {
    match env().unmarked(name.as_bytes(), Some(value.as_bytes())) {
        Unmarked::Same => Some(value.to_owned()),
        Unmarked::Less(rest) => Some(String::from_utf8(rest).expect("text")),
        Unmarked::Gone => None,
    }
}

#[test]
fn every_attribute_that_carries_baggage_loses_its_marks() {
    for name in [
        "baggage",
        "Baggage",
        "BAGGAGE",
        " baggage ",
        "RPC_TRANSIT_baggage",
        "rpc_transit_BAGGAGE",
        "RPC_PERSIST_baggage",
        "RPC_TRANSIT_UPSTREAM_baggage",
        "RPC_BACKWARD_baggage",
        "rpc-transit-baggage",
        "rpc-persist-baggage",
        "Rpc-Transit_Upstream-Baggage",
        "RPC_PERSIST_RPC_TRANSIT_baggage",
    ] {
        assert_eq!(left(name, "env=dev"), None, "{name}");
        assert_eq!(left(name, "a=1,env=dev").as_deref(), Some("a=1"), "{name}");
    }
    for name in [
        "ot-baggage-env",
        "OT-Baggage-ENV",
        "ot_baggage_env",
        "uberctx-env",
        "RPC_TRANSIT_ot-baggage-env",
        "rpc-persist-uberctx-env",
        "ot-baggage-e%6Ev",
    ] {
        assert_eq!(left(name, "dev"), None, "{name}");
    }
}

#[test]
fn other_attributes_stay_whatever_they_hold() {
    for name in [
        "env",
        "bag",
        "baggages",
        "x-baggage",
        "ot-baggage-envy",
        "ot-baggage-",
        "uberctx-other",
        "RPC_TRANSIT_env",
        "RPC_TRANSIT_",
        "",
    ] {
        assert_eq!(left(name, "env=dev").as_deref(), Some("env=dev"), "{name}");
    }
}

#[test]
fn a_mark_is_found_however_it_is_written_and_the_rest_stays_byte_for_byte() {
    for (before, after) in [
        ("env=dev", None),
        ("ENV=dev", None),
        ("  env = dev ; p=1 ", None),
        ("\tenv\t=\tdev", None),
        ("e%6ev=dev", None),
        ("%65%6E%76=dev", None),
        ("\"env\"=dev", None),
        ("env+=dev", None),
        ("++env=dev", None),
        ("e+nv=dev", Some("e+nv=dev")),
        ("env;p=1", None),
        ("env", None),
        ("env=a,env=b, env=c", None),
        ("env=dev,,", None),
        ("a = 1 ;p= 2 , env=dev,b=%20", Some("a = 1 ;p= 2 ,b=%20")),
        ("env=dev, a=1", Some(" a=1")),
        ("a=1;env=dev", Some("a=1;env=dev")),
        ("environment=dev", Some("environment=dev")),
        ("a=env=dev", Some("a=env=dev")),
        ("a=%2Cenv=dev", Some("a=%2Cenv=dev")),
        ("e%6=1,%zz=2", Some("e%6=1,%zz=2")),
        ("", Some("")),
    ] {
        assert_eq!(left("baggage", before).as_deref(), after, "{before:?}");
    }
}

#[test]
fn a_key_with_letters_of_another_alphabet_that_become_its_own_in_lower_case_is_the_key() {
    let marks = Marks::new(["token"]).expect("a key");
    let name = "ot-baggage-to\u{212a}en".as_bytes();
    assert_eq!(marks.unmarked(name, Some(b"dev")), Unmarked::Gone);
}

#[test]
fn a_key_with_underscores_is_another_one_than_with_hyphens_but_in_names_of_headers() {
    let marks = Marks::new(["lane-id"]).expect("a key");
    let list = |value: &str| marks.unmarked(b"baggage", Some(value.as_bytes()));
    assert_eq!(list("lane_id=x"), Unmarked::Same);
    assert_eq!(list("Lane-Id=x"), Unmarked::Gone);
    assert_eq!(
        marks.unmarked(b"OT_BAGGAGE_LANE_ID", Some(b"x")),
        Unmarked::Gone
    );
}

#[test]
fn a_value_that_is_not_at_hand_goes_with_its_attribute() {
    assert_eq!(env().unmarked(b"Baggage", None), Unmarked::Gone);
    assert_eq!(env().unmarked(b"other", None), Unmarked::Same);
    assert_eq!(env().unmarked(b"ot-baggage-other", None), Unmarked::Same);
}

#[test]
fn marks_of_several_groups_go_at_once_and_no_key_is_no_marks() {
    let marks = Marks::new(["lane", "Env", "env"]).expect("keys");
    assert_eq!(marks.keys().collect::<Vec<_>>(), ["env", "lane"]);
    let rest = marks.unmarked(b"baggage", Some(b"a=1,lane=x,ENV=y,b=2"));
    assert_eq!(rest, Unmarked::Less(b"a=1,b=2".to_vec()));
    assert_eq!(Marks::new([""; 0]), None);
}

#[test]
fn headers_lose_their_marks_by_the_fewest_changes() {
    let headers = [
        ("baggage", "a=1"),
        ("x", "env=dev"),
        ("Baggage", "env=dev,b=2"),
        ("rpc-persist-baggage", "env=dev"),
    ];
    assert_eq!(
        env().changes(headers.into_iter()),
        [
            Mutation::Set("Baggage".into(), "a=1,b=2".into()),
            Mutation::Remove("rpc-persist-baggage".into()),
        ]
    );
    assert_eq!(env().changes([("baggage", "a=1")].into_iter()), []);
}

proptest! {
    /// Members of any bytes, among them marks in many spellings.
    #[test]
    fn nothing_that_a_strict_reader_takes_for_a_mark_is_left(
        members in prop::collection::vec(
            prop_oneof![
                "[ \\t]{0,2}(env|ENV|Env|%65nv|e%6Ev)[ \\t]{0,2}=[a-z;%= ]{0,6}",
                "[a-z%=; \\t\"]{0,8}",
                "\\PC{0,8}",
            ],
            0..8,
        )
    ) {
        let header = members.join(",");
        let Some(rest) = left("baggage", &header) else { return Ok(()) };
        for member in rest.split(',') {
            let key = member.split(['=', ';']).next().unwrap_or_default();
            prop_assert!(!key.trim_matches([' ', '\t']).eq_ignore_ascii_case("env"), "{rest:?}");
        }
        // What stays stands there in its order, and all that is no mark stays.
        let mut before = header.split(',');
        for member in rest.split(',') {
            prop_assert!(before.any(|other| other == member));
        }
        prop_assert_eq!(left("baggage", &rest), Some(rest));
    }
}
