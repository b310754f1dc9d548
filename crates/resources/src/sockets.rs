//! Over which transport socket an endpoint is reached. As in Envoy each endpoint's own metadata decides:
//! istiod gives every cluster a socket with TLS for those with `tlsMode: istio`, and a plain one for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_balancer::Endpoint;
use prost_types::Struct;
use prost_types::value::Kind;

use crate::field::is_secured;
use crate::messages::envoy::config::cluster::v3 as envoy;
use crate::messages::envoy::config::core::v3::{Metadata, TransportSocket};

/// What an endpoint says for the choice: `filter_metadata["envoy.transport_socket_match"]`.
pub(crate) type Marks = BTreeMap<String, String>;

/// The sockets of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    /// The first whose marks an endpoint has all is its own.
    matches: Vec<(Marks, Socket)>,
    /// Of endpoints that none matches.
    otherwise: Socket,
}

/// The name of a socket that we cannot use; None: connections are plain.
type Socket = Option<Arc<str>>;

impl Sockets {
    pub(crate) fn of(message: &envoy::Cluster) -> Self {
        let otherwise = message.transport_socket.as_ref().and_then(secured);
        let mut sockets = Self {
            matches: Vec::new(),
            otherwise,
        };
        for one in &message.transport_socket_matches {
            let socket = one.transport_socket.as_ref().and_then(secured);
            match one.r#match.as_ref().map(marks_of) {
                // Asks for nothing, so that it takes all that are left.
                None => {
                    sockets.otherwise = socket;
                    break;
                }
                Some(Some(marks)) if marks.is_empty() => {
                    sockets.otherwise = socket;
                    break;
                }
                Some(Some(marks)) => sockets.matches.push((marks, socket)),
                // Nobody knows here which endpoints it takes: they may all need it.
                Some(None) if socket.is_some() => {
                    sockets.otherwise = socket;
                    break;
                }
                Some(None) => {}
            }
        }
        sockets
    }

    /// Why no endpoint can be used, whatever its marks are.
    pub(crate) fn refuse(&self) -> Option<Arc<str>> {
        let all = self.matches.iter().all(|(_, socket)| socket.is_some());
        all.then(|| self.otherwise.as_deref().map(reason)).flatten()
    }

    /// Those of the endpoints that are reached in plain text; and why none can be used, where that is so.
    /// The others are left out: an unhealthy endpoint may still be called, such a one never.
    pub(crate) fn usable(
        &self,
        endpoints: &Arc<[Endpoint]>,
        marks: &[Marks],
    ) -> (Arc<[Endpoint]>, Option<Arc<str>>) {
        let none = Marks::new();
        let socket = |place| self.socket(marks.get(place).unwrap_or(&none));
        let Some(first) = (0..endpoints.len()).find_map(socket) else {
            return (Arc::clone(endpoints), None);
        };
        let places = endpoints.iter().enumerate();
        let plain = places.filter(|(place, _)| socket(*place).is_none());
        let plain: Arc<[Endpoint]> = plain.map(|(_, endpoint)| endpoint.clone()).collect();
        let refuse = plain.is_empty().then(|| reason(first));
        (plain, refuse)
    }

    fn socket(&self, marks: &Marks) -> Option<&str> {
        let has_all = |wanted: &Marks| {
            wanted
                .iter()
                .all(|(key, value)| marks.get(key) == Some(value))
        };
        let found = self.matches.iter().find(|(wanted, _)| has_all(wanted));
        found
            .map_or(&self.otherwise, |(_, socket)| socket)
            .as_deref()
    }
}

/// The marks of an endpoint; what is not text is left out, so that nothing matches it.
pub(crate) fn marks(metadata: &Metadata) -> Marks {
    let found = metadata.filter_metadata.get("envoy.transport_socket_match");
    let fields = found.iter().flat_map(|one| &one.fields);
    let texts = fields.filter_map(|(key, value)| match &value.kind {
        Some(Kind::StringValue(text)) => Some((key.clone(), text.clone())),
        _ => None,
    });
    texts.collect()
}

/// None where something is not text.
fn marks_of(wanted: &Struct) -> Option<Marks> {
    let text = |value: &prost_types::Value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    let fields = wanted.fields.iter();
    fields
        .map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect()
}

/// The socket's name where it changes the bytes of the connection: anything but Envoy's own for a plain one.
fn secured(socket: &TransportSocket) -> Socket {
    is_secured(socket).then(|| socket.name.as_str().into())
}

fn reason(socket: &str) -> Arc<str> {
    let reason = format!(
        "it asks for the transport socket {socket}, which is not supported yet, and going on in \
         plain text would be unsafe"
    );
    reason.into()
}
