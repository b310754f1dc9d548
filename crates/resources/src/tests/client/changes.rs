//! Header changes of routes, clusters, virtual hosts and configurations.

use meltemi_routing::{Mutation, VirtualHost};

use super::*;
use crate::messages::envoy::config::core::v3::HeaderValueOption;
use crate::messages::envoy::config::core::v3::header_value_option::HeaderAppendAction as Append;

fn option(key: &str, value: &str, action: Append) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(core::HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    }
}

/// What a route with these additions changes, in words.
fn changed(add: Vec<HeaderValueOption>, remove: &[&str]) -> (Vec<String>, Vec<Arc<str>>) {
    let from = route::Route {
        request_headers_to_add: add,
        request_headers_to_remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        ..to_cluster("", Vec::new(), "a")
    };
    let read = read(from);
    let notes = read.http.map(|http| http.notes.to_vec());
    let words = read.request_mutation.iter().map(words);
    (words.collect(), notes.unwrap_or_default())
}

fn words(change: &Mutation) -> String {
    match change {
        Mutation::Set(name, value) => format!("set {name}={value}"),
        Mutation::Append(name, value) => format!("append {name}={value}"),
        Mutation::SetIfMissing(name, value) => format!("if missing {name}={value}"),
        Mutation::SetIfPresent(name, value) => format!("if present {name}={value}"),
        Mutation::Remove(name) => format!("remove {name}"),
    }
}

#[test]
fn each_way_of_adding_is_kept_in_the_order_in_which_envoy_does_them() {
    let add = vec![
        option("A", "1", Append::AppendIfExistsOrAdd),
        option("B", "2", Append::AddIfAbsent),
        option("C", "3", Append::OverwriteIfExistsOrAdd),
        option("D", "4", Append::OverwriteIfExists),
    ];
    let (words, notes) = changed(add, &["E", "A"]);
    let wanted = [
        "remove e",
        "remove a",
        "set c=3",
        "if present d=4",
        "append a=1",
        "if missing b=2",
    ];
    assert_eq!(words, wanted);
    assert_eq!(notes, []);
}

#[test]
fn the_older_field_says_whether_to_append() {
    let older = |append| HeaderValueOption {
        append: Some(append),
        ..option("a", "1", Append::AppendIfExistsOrAdd)
    };
    assert_eq!(changed(vec![older(true)], &[]).0, ["append a=1"]);
    assert_eq!(changed(vec![older(false)], &[]).0, ["set a=1"]);
}

#[test]
fn an_empty_value_is_sent_only_where_it_is_wanted() {
    let empty = option("a", "", Append::OverwriteIfExistsOrAdd);
    assert_eq!(changed(vec![empty.clone()], &[]).0, [""; 0]);
    let kept = HeaderValueOption {
        keep_empty_value: true,
        ..empty
    };
    assert_eq!(changed(vec![kept], &[]).0, ["set a="]);
    let nothing = HeaderValueOption::default();
    assert_eq!(changed(vec![nothing], &[]).0, [""; 0]);
}

#[test]
fn a_value_that_only_a_proxy_knows_is_left_out_and_noted() {
    let commands = vec![
        option(
            "a",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
            Append::AppendIfExistsOrAdd,
        ),
        option("b", "100%% of %%", Append::AppendIfExistsOrAdd),
    ];
    let (words, notes) = changed(commands, &[]);
    assert_eq!(words, ["append b=100% of %"]);
    assert!(
        notes[0].starts_with("header \"a\" is not added"),
        "{notes:?}"
    );
}

#[test]
fn what_every_request_needs_cannot_be_removed() {
    for name in [":path", "Host", ""] {
        let from = route::Route {
            response_headers_to_remove: vec!["x".to_owned(), name.to_owned()],
            ..to_cluster("", Vec::new(), "a")
        };
        let said = refused_route(from);
        let wanted = format!("response_headers_to_remove[1]: {name:?} cannot be removed");
        assert_eq!(said, wanted);
    }
}

/// One host, where each level sets a header to its own name.
fn levels(most_specific_wins: bool) -> Arc<VirtualHost> {
    let set = |level: &str| vec![option("level", level, Append::OverwriteIfExistsOrAdd)];
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::WeightedClusters(
            route::WeightedCluster {
                clusters: vec![route::weighted_cluster::ClusterWeight {
                    name: "a".to_owned(),
                    weight: Some(1),
                    request_headers_to_add: set("cluster"),
                    response_headers_to_add: set("cluster"),
                    ..Default::default()
                }],
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let from = route::Route {
        request_headers_to_add: set("route"),
        response_headers_to_add: set("route"),
        ..with_action("", Vec::new(), action)
    };
    let mut message = route_configuration("r", vec![from]);
    let mut host = route::VirtualHost::decode(&*message.virtual_hosts[0]).expect("a host");
    host.request_headers_to_add = set("host");
    host.response_headers_to_add = set("host");
    message.virtual_hosts[0] = host.encode_to_vec().into();
    message.request_headers_to_add = set("configuration");
    message.response_headers_to_add = set("configuration");
    message.most_specific_header_mutations_wins = most_specific_wins;
    Arc::clone(&hosts(&message).hosts()[0])
}

#[test]
fn the_configuration_has_the_last_word_unless_it_leaves_it_to_the_route() {
    let special = ["cluster", "route", "host", "configuration"];
    let general = ["cluster", "configuration", "host", "route"];
    for (most_specific_wins, in_order) in [(false, special), (true, general)] {
        let wanted = in_order.map(|level| format!("set level={level}"));
        let host = levels(most_specific_wins);
        let route = &host.table.routes()[0];
        let request: Vec<_> = host.request_changes(route, 0).map(words).collect();
        let response: Vec<_> = host.response_changes(route, 0).map(words).collect();
        assert_eq!(request, wanted);
        assert_eq!(response, wanted);
    }
}
