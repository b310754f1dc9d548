//! Istio's labels: who called whom, and how it went.

use std::sync::Arc;

use meltemi_balancer::Peer;
use meltemi_codec::ErrorKind;
use meltemi_resources::Direction;

/// How a request ended, for metrics and the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The upstream served it.
    Ok,
    /// The upstream's reply says that it failed.
    Failed,
    /// Meltemi answered.
    Local(ErrorKind),
    /// The caller left before there was an answer.
    Canceled,
}

impl Outcome {
    /// `response_code`: 0 is success, 1 an error, as MetaProtocol Proxy has it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Ok => "0",
            _ => "1",
        }
    }

    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::Ok | Self::Failed => "-",
            Self::Local(kind) => kind.flag(),
            Self::Canceled => "DC",
        }
    }

    pub(crate) const fn details(self) -> &'static str {
        match self {
            Self::Ok | Self::Failed => "via_upstream",
            Self::Local(kind) => kind.as_str(),
            Self::Canceled => "downstream_remote_disconnect",
        }
    }

    /// A small number of its own.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Canceled => 2,
            Self::Local(kind) => 3 + kind as u8,
        }
    }
}

/// All labels of one series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) pairs: Vec<(&'static str, String)>,
}

/// What the labels are made from.
pub(crate) struct Sides<'a> {
    pub(crate) direction: Direction,
    /// Who this proxy is.
    pub(crate) node: &'a Peer,
    /// The other side, where it is known.
    pub(crate) other: Option<&'a Arc<Peer>>,
    /// The cluster's name, or the route table's where no cluster was chosen.
    pub(crate) target: &'a str,
    pub(crate) protocol: &'a str,
}

const UNKNOWN: &str = "unknown";

impl Labels {
    /// Labels of a request.
    pub(crate) fn request(sides: &Sides<'_>, outcome: Outcome) -> Self {
        let mut labels = Self::both_sides(sides);
        labels.push("response_code", outcome.code());
        labels.push("grpc_response_status", "");
        labels.push("response_flags", outcome.flag());
        labels.push("connection_security_policy", security(sides.direction));
        labels
    }

    /// Labels of a connection that is forwarded as TCP.
    pub(crate) fn connection(sides: &Sides<'_>) -> Self {
        let mut labels = Self::both_sides(sides);
        labels.push("response_flags", "-");
        labels.push("connection_security_policy", security(sides.direction));
        labels
    }

    fn both_sides(sides: &Sides<'_>) -> Self {
        let nobody = Peer::default();
        let other = sides.other.map_or(&nobody, |peer| &**peer);
        let (reporter, source, destination) = match sides.direction {
            Direction::Outbound => ("source", sides.node, other),
            Direction::Inbound => ("destination", other, sides.node),
        };
        let mut labels = Self {
            pairs: Vec::with_capacity(28),
        };
        labels.push("reporter", reporter);
        labels.peer(SOURCE, source);
        labels.peer(DESTINATION, destination);
        let service = service(sides.target).unwrap_or(UNKNOWN);
        labels.push("destination_service", service);
        let mut parts = service.split('.');
        labels.push("destination_service_name", parts.next().unwrap_or(UNKNOWN));
        let namespace = parts.next().filter(|_| parts.next() == Some("svc"));
        labels.push(
            "destination_service_namespace",
            namespace.unwrap_or(&destination.namespace),
        );
        labels.push("request_protocol", sides.protocol);
        labels
    }

    fn peer(&mut self, names: [&'static str; 8], peer: &Peer) {
        let [
            workload,
            namespace,
            app,
            version,
            cluster,
            service,
            revision,
            principal,
        ] = names;
        self.push(workload, &peer.workload);
        self.push(namespace, &peer.namespace);
        self.push(app, &peer.app);
        self.push(version, &peer.version);
        self.push(cluster, &peer.cluster);
        let named = if peer.app.is_empty() {
            &peer.workload
        } else {
            &peer.app
        };
        self.push(service, named);
        let latest = if peer.workload.is_empty() {
            UNKNOWN
        } else {
            "latest"
        };
        self.push(
            revision,
            if peer.version.is_empty() {
                latest
            } else {
                &peer.version
            },
        );
        self.push(principal, UNKNOWN);
    }

    fn push(&mut self, name: &'static str, value: &str) {
        let may_be_empty = name == "grpc_response_status";
        let value = if value.is_empty() && !may_be_empty {
            UNKNOWN
        } else {
            value
        };
        self.pairs.push((name, value.to_owned()));
    }
}

const SOURCE: [&str; 8] = [
    "source_workload",
    "source_workload_namespace",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
];

const DESTINATION: [&str; 8] = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
];

/// Plain connections: the destination knows that, the source leaves it open, as Istio does.
const fn security(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => UNKNOWN,
        Direction::Inbound => "none",
    }
}

/// The host in `outbound|PORT|SUBSET|HOST`, or in a route table's `HOST_PORT`.
fn service(target: &str) -> Option<&str> {
    let host = match target.rsplit_once('|') {
        Some((_, host)) => host,
        None => match target.rsplit_once('_') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => target,
        },
    };
    Some(host).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'l>(labels: &'l Labels, name: &str) -> &'l str {
        &labels
            .pairs
            .iter()
            .find(|(label, _)| *label == name)
            .unwrap()
            .1
    }

    #[test]
    fn the_outbound_side_names_itself_as_the_source_and_the_endpoint_as_the_destination() {
        let node = Peer {
            workload: "client".into(),
            namespace: "a".into(),
            ..Peer::default()
        };
        let peer = Arc::new(Peer {
            workload: "server-v1".into(),
            namespace: "b".into(),
            app: "server".into(),
            version: "v1".into(),
            cluster: "c1".into(),
        });
        let sides = Sides {
            direction: Direction::Outbound,
            node: &node,
            other: Some(&peer),
            target: "outbound|9090|v1|server.b.svc.cluster.local",
            protocol: "thrift",
        };
        let labels = Labels::request(&sides, Outcome::Local(ErrorKind::Timeout));
        assert_eq!(value(&labels, "reporter"), "source");
        assert_eq!(value(&labels, "source_workload"), "client");
        assert_eq!(value(&labels, "source_version"), "unknown");
        assert_eq!(value(&labels, "source_canonical_revision"), "latest");
        assert_eq!(value(&labels, "destination_workload"), "server-v1");
        assert_eq!(value(&labels, "destination_canonical_service"), "server");
        assert_eq!(
            value(&labels, "destination_service"),
            "server.b.svc.cluster.local"
        );
        assert_eq!(value(&labels, "destination_service_name"), "server");
        assert_eq!(value(&labels, "destination_service_namespace"), "b");
        assert_eq!(value(&labels, "response_code"), "1");
        assert_eq!(value(&labels, "response_flags"), "UT");
        assert_eq!(value(&labels, "grpc_response_status"), "");
    }

    #[test]
    fn a_request_without_a_cluster_is_told_apart_by_its_route_table() {
        assert_eq!(service("hello.svc_9090"), Some("hello.svc"));
        assert_eq!(service("inbound|9090||"), None);
    }
}
