//! Virtual hosts of a configuration.

use meltemi_routing::{Answer, VirtualHost};

use super::*;

/// A host with a route to the cluster of its name.
fn host(name: &str, domains: &[&str]) -> route::VirtualHost {
    let to = to_cluster("it", Vec::new(), name);
    route::VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes: vec![to.encode_to_vec().into()],
        ..route::VirtualHost::default()
    }
}

fn configuration(hosts: &[route::VirtualHost]) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: "r".to_owned(),
        virtual_hosts: hosts
            .iter()
            .map(|host| host.encode_to_vec().into())
            .collect(),
        ..route::RouteConfiguration::default()
    }
}

#[test]
fn domains_as_istiod_writes_them_find_their_host() {
    let reviews = [
        "reviews.default.svc.cluster.local",
        "reviews.default.svc.cluster.local:9080",
        "reviews",
        "reviews:9080",
        "reviews.default.svc",
        "10.96.0.7",
        "10.96.0.7:9080",
    ];
    let message = configuration(&[host("any", &["*"]), host("reviews", &reviews)]);
    let hosts = hosts(&message);
    let served = |authority: &str| hosts.select(authority).map(|host| host.name.to_string());
    for authority in reviews {
        assert_eq!(served(authority).as_deref(), Some("reviews"));
    }
    assert_eq!(served("reviews:80").as_deref(), Some("any"));
    let ignoring = route::RouteConfiguration {
        ignore_port_in_host_matching: true,
        ..message
    };
    let hosts = super::hosts(&ignoring);
    let served = hosts.select("reviews:80").expect("a host");
    assert_eq!(&*served.name, "reviews");
}

#[test]
fn domains_that_cannot_be_told_apart_are_refused() {
    let twice = configuration(&[host("a", &["x", "y"]), host("b", &["z", "X"])]);
    assert_eq!(
        refused(&twice),
        "r: virtual_hosts[1].domains[1]: \"X\" is a domain of virtual host \"a\" already"
    );
    let more = configuration(&[host("a", &["*", "y"]), host("b", &["*", "y"])]);
    assert!(refused(&more).ends_with("already (and 1 more)"));
    assert_eq!(
        refused(&configuration(&[host("a", &[])])),
        "r: virtual_hosts[0].domains: is empty: nothing is served"
    );
    assert_eq!(
        refused(&configuration(&[host("a", &["x", ""])])),
        "r: virtual_hosts[0].domains[1]: is empty"
    );
}

#[test]
fn a_configuration_with_another_name_or_another_way_to_its_hosts_is_refused() {
    let mut other = configuration(&[]);
    other.name = "s".to_owned();
    assert_eq!(refused(&other), "r: name: \"s\", not \"r\"");
    let mut by_header = configuration(&[]);
    by_header.vhost_header = "x-host".to_owned();
    assert!(refused(&by_header).starts_with("r: vhost_header: is not supported"));
}

fn only(message: &route::VirtualHost) -> Arc<VirtualHost> {
    Arc::clone(&hosts(&configuration(std::slice::from_ref(message))).hosts()[0])
}

#[test]
fn a_host_whose_calls_need_what_is_not_there_says_so() {
    let tls = route::VirtualHost {
        require_tls: route::virtual_host::TlsRequirementType::All as i32,
        ..host("a", &["*"])
    };
    let tls = only(&tls);
    let http = tls.table.routes()[0].http.as_ref().expect("an answer");
    match &http.answer {
        Some(Answer::Refused(reason)) => assert!(reason.contains("require_tls"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let tree = route::VirtualHost {
        matcher: Some(()),
        ..host("a", &["*"])
    };
    let request = Request::<&str>::new("POST", "http", "a", "/", &[]);
    let tree = only(&tree);
    assert_eq!(tree.table.select(&request), None);
    let said = tree.table.explain(&request)[0].conditions[0].to_string();
    assert!(said.contains("matcher trees are not supported"), "{said}");
}

#[test]
fn a_host_has_its_own_retry_policy_and_notes() {
    let message = route::VirtualHost {
        retry_policy: Some(route::RetryPolicy {
            num_retries: Some(7),
            ..route::RetryPolicy::default()
        }),
        request_mirror_policies: vec![()],
        ..host("a", &["*"])
    };
    let mut whole = configuration(&[message]);
    whole.vhds = Some(());
    let hosts = hosts(&whole);
    let host = &hosts.hosts()[0];
    assert_eq!(host.retry.as_ref().map(|retry| retry.num_retries), Some(7));
    let notes = host.notes.join("; ");
    assert!(
        notes.contains("vhds") && notes.contains("request_mirror_policies"),
        "{notes}"
    );
}

#[test]
fn a_new_version_shares_the_hosts_that_stayed() {
    let mut store = ClientStore::new();
    let versions: [&[&str]; 4] = [&["a", "b", "c"], &["c", "a"], &["c", "x", "a"], &["a"]];
    let mut before: Vec<Arc<VirtualHost>> = Vec::new();
    for version in versions {
        let named = version.iter().map(|name| host(name, &[name]));
        take(
            &mut store,
            type_url::ROUTE,
            "r",
            &configuration(&named.collect::<Vec<_>>()),
        );
        let hosts = Arc::clone(&store.snapshot().routes["r"]);
        for (host, name) in hosts.hosts().iter().zip(version) {
            assert_eq!(&*host.name, *name);
            let old = before.iter().find(|old| old.name == host.name);
            assert!(old.is_none_or(|old| Arc::ptr_eq(old, host)), "{name}");
        }
        before = hosts.hosts().to_vec();
    }
    let mut common = configuration(&[host("a", &["a"])]);
    common.request_headers_to_remove = vec!["x".to_owned()];
    take(&mut store, type_url::ROUTE, "r", &common);
    let host = Arc::clone(&store.snapshot().routes["r"].hosts()[0]);
    assert_eq!(
        host.mutations.request.len(),
        1,
        "what all hosts share is new"
    );
}

#[test]
fn bytes_that_are_no_message_are_refused_where_they_stand() {
    let mut broken = configuration(&[host("a", &["a"])]);
    broken.virtual_hosts.push(vec![0x0a, 0x05, b'x'].into());
    assert!(refused(&broken).starts_with("r: virtual_hosts[1]: not a valid"));
    let mut host = host("a", &["a"]);
    host.routes.push(vec![0x72, 0x05, b'x'].into());
    let said = refused(&configuration(&[host]));
    assert!(
        said.starts_with("r: virtual_hosts[0].routes[1]: not a valid"),
        "{said}"
    );
}
