//! Metrics and the access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_proxy::AccessLogConfig;
use meltemi_resources::{Direction, Peer};

use crate::bed::{Client, Mesh, Server, config, free_address, start, stat, until};
use crate::toy::{self, Message, Toy};

/// The one line of the metric that has all of these labels.
fn sample(text: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |line: &&str| {
        line.starts_with(&format!("{metric}{{"))
            && labels
                .iter()
                .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
    };
    let line = text.lines().find(has)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn outbound_metrics_name_this_side_and_the_endpoint_and_count_local_answers_too() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.clusters[0].name = "outbound|80|v7|svc.there.svc.cluster.local".into();
    mesh.routes = vec![
        (
            "echo",
            vec![("outbound|80|v7|svc.there.svc.cluster.local", 1)],
        ),
        (
            "fail",
            vec![("outbound|80|v7|svc.there.svc.cluster.local", 1)],
        ),
    ];
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    client.call(2, "echo", "x");
    client.call(3, "fail", "");
    assert_eq!(client.call(4, "nowhere", "").kind, toy::LOCAL);
    let text = engine.prometheus();
    let both = [
        ("reporter", "source"),
        ("source_workload", "me"),
        ("source_workload_namespace", "here"),
        ("source_app", "myself"),
        ("source_version", "v0"),
        ("source_canonical_service", "myself"),
        ("source_canonical_revision", "v0"),
        ("destination_workload", "one-workload"),
        ("destination_workload_namespace", "there"),
        ("destination_app", "one"),
        ("destination_version", "v7"),
        ("destination_service", "svc.there.svc.cluster.local"),
        ("destination_service_name", "svc"),
        ("destination_service_namespace", "there"),
        ("request_protocol", "toy"),
        ("grpc_response_status", ""),
        ("connection_security_policy", "unknown"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&both[..], more].concat();
    let requests = "istio_requests_total";
    let ok = with(&[("response_code", "0"), ("response_flags", "-")]);
    assert_eq!(sample(&text, requests, &ok), Some(2.0));
    let failed = with(&[("response_code", "1"), ("response_flags", "-")]);
    assert_eq!(sample(&text, requests, &failed), Some(1.0));
    let local = [
        ("response_code", "1"),
        ("response_flags", "NR"),
        ("source_workload", "me"),
    ];
    assert_eq!(sample(&text, requests, &local), Some(1.0));
    let count = "istio_request_duration_milliseconds_count";
    assert_eq!(sample(&text, count, &ok), Some(2.0));
    assert_eq!(
        sample(&text, "istio_request_bytes_sum", &ok),
        Some(2.0 * 19.0)
    );
    assert_eq!(
        sample(&text, "istio_response_bytes_sum", &ok),
        Some(2.0 * 21.0)
    );
}

#[test]
fn inbound_metrics_name_the_caller_by_its_address() {
    let server = Server::start("a");
    let mut mesh = Mesh::of(&[&server]);
    mesh.direction = Direction::Inbound;
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    let caller = Peer {
        workload: "caller".into(),
        namespace: "far".into(),
        ..Peer::default()
    };
    mesh.peers
        .insert(IpAddr::from([127, 0, 0, 1]), Arc::new(caller));
    engine.publish(mesh.snapshot());
    until("in force", || stat(&engine, "meltemi.snapshots_total") == 2);
    // The connection was open before the caller was known.
    client.call(2, "echo", "x");
    let text = engine.prometheus();
    let labels = |source| {
        [
            ("reporter", "destination"),
            ("source_workload", source),
            ("destination_workload", "me"),
            ("destination_app", "myself"),
            ("connection_security_policy", "none"),
        ]
    };
    assert_eq!(
        sample(&text, "istio_requests_total", &labels("unknown")),
        Some(1.0)
    );
    assert_eq!(
        sample(&text, "istio_requests_total", &labels("caller")),
        Some(1.0)
    );
}

#[test]
fn every_request_is_a_line_in_the_access_log_however_it_ended() {
    let server = Server::start("a");
    let path = std::env::temp_dir().join(format!("meltemi-access-{}", free_address().port()));
    let mut mesh = Mesh::of(&[&server]);
    mesh.routes = vec![("echo", vec![("one", 1)]), ("never", vec![("one", 1)])];
    let mut config = config(Toy::with_ids());
    config.limits.request_timeout = Duration::from_millis(100);
    config.access_log = Some(AccessLogConfig {
        target: path.to_str().unwrap().to_owned(),
        format: "%REQ(METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                 %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %ROUTE_NAME%"
            .to_owned(),
    });
    let engine = start(config, &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    client.call(2, "never", "");
    client.call(3, "evil\n\"line\"", "");
    client.send(&Message::new(toy::ONEWAY, 4, "echo", b""));
    until("four lines", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 4)
    });
    engine.stop();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let address = server.address;
    assert_eq!(
        lines[0],
        format!("echo 0 - via_upstream 19 21 {address} one to-one")
    );
    assert!(
        lines[1].starts_with("never 1 UT timeout 19 "),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with(&format!(" {address} one to-one")),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("evil\\u{a}\\\"line\\\" 1 NR route_not_found 25 "),
        "{}",
        lines[2]
    );
    assert!(lines[2].ends_with(" - - -"), "{}", lines[2]);
    assert!(
        lines[3].starts_with("echo 0 - via_upstream 18 0 "),
        "{}",
        lines[3]
    );
}

#[test]
fn a_full_disk_loses_lines_and_counts_them_and_requests_go_on() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let mut config = config(Toy::with_ids());
    let target = "/dev/full".to_owned();
    config.access_log = Some(AccessLogConfig {
        target,
        format: "json".to_owned(),
    });
    let engine = start(config, &mesh);
    engine.set_log_level(meltemi_proxy::Level::Error);
    let mut client = Client::connect(mesh.address);
    for id in 0..10 {
        assert_eq!(client.call(id, "echo", "x").text(), "x@a");
    }
    until("counted", || {
        stat(&engine, "access_log.failed_writes_total") > 0
    });
    assert!(stat(&engine, "access_log.lost_bytes_total") > 1000);
    assert_eq!(client.call(11, "echo", "x").text(), "x@a");
}

#[test]
fn an_access_log_that_cannot_be_opened_or_has_an_unknown_word_stops_the_start() {
    for (target, format, said) in [
        ("/nowhere/at/all.log", "text", "/nowhere/at/all.log"),
        ("-", "%NO_SUCH_WORD%", "NO_SUCH_WORD"),
    ] {
        let mut config = config(Toy::with_ids());
        config.access_log = Some(AccessLogConfig {
            target: target.to_owned(),
            format: format.to_owned(),
        });
        let error = meltemi_proxy::Engine::start(config).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn clusters_and_counters_can_be_read_by_envoys_names() {
    let server = Server::start("a");
    let mesh = Mesh::of(&[&server]);
    let engine = start(config(Toy::with_ids()), &mesh);
    let mut client = Client::connect(mesh.address);
    client.call(1, "echo", "x");
    let clusters = engine.clusters();
    assert_eq!(clusters[0].name, "one");
    assert_eq!(clusters[0].endpoints[0].address, server.address);
    assert_eq!(
        (
            clusters[0].endpoints[0].total,
            clusters[0].endpoints[0].errors
        ),
        (1, 0)
    );
    let flat = mesh.address.to_string().replace(':', "_");
    assert_eq!(
        stat(&engine, &format!("listener.{flat}.downstream_cx_active")),
        1
    );
    assert_eq!(stat(&engine, "meta_protocol.toy.toy.request"), 1);
    assert_eq!(stat(&engine, "cluster.one.upstream_cx_total"), 1);
    let text = engine.prometheus();
    let label = [("envoy_cluster_name", "one")];
    assert_eq!(
        sample(&text, "envoy_cluster_upstream_cx_total", &label),
        Some(1.0)
    );
}
