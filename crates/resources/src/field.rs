//! Fields that several messages share: addresses, durations, packed messages.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prost::Message;
use prost::bytes::Buf;

use crate::invalid::Invalid;
use crate::messages::envoy::config::core::v3::address::Address as Kind;
use crate::messages::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use crate::messages::envoy::config::core::v3::{Address, TransportSocket};

/// The address as an IP address and a port over TCP.
pub(crate) fn socket_address(from: Option<&Address>) -> Result<SocketAddr, Invalid> {
    let kind = from.and_then(|address| address.address.as_ref());
    let Some(Kind::SocketAddress(socket)) = kind else {
        return Err(Invalid::at("address", "a socket_address is needed here"));
    };
    if socket.protocol != Protocol::Tcp as i32 {
        return Err(Invalid::at(
            "address.socket_address.protocol",
            "only TCP is supported",
        ));
    }
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        let reason = format!(
            "{:?} is no IP address, and names are not resolved here",
            socket.address
        );
        Invalid::at("address.socket_address.address", reason)
    })?;
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok().filter(|port| *port > 0),
        _ => None,
    };
    let port = port.ok_or_else(|| {
        Invalid::at(
            "address.socket_address.port_value",
            "a port from 1 to 65535 is needed",
        )
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// A duration that is set and longer than nothing; None when it is not set, or 0.
pub(crate) fn duration(
    field: &str,
    from: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    Ok(set_duration(field, from)?.filter(|duration| !duration.is_zero()))
}

/// A duration that is set, be it 0; None when it is not.
pub(crate) fn set_duration(
    field: &str,
    from: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    from.map(|from| Duration::try_from(*from))
        .transpose()
        .map_err(|_| Invalid::at(field, "a duration is never negative"))
}

/// Decodes the message that `any` holds.
pub(crate) fn unpack<M: Message + Default>(any: &prost_types::Any) -> Result<M, Invalid> {
    decode(type_name(&any.type_url), &*any.value)
}

/// Decodes a message of the type `name`.
pub(crate) fn decode<M: Message + Default>(name: &str, bytes: impl Buf) -> Result<M, Invalid> {
    M::decode(bytes).map_err(|error| Invalid::undecodable(name, &error))
}

/// The full name of the type behind the last slash of a type URL.
pub(crate) fn type_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// Whether the transport socket changes the bytes of the connection: anything but Envoy's own name
/// for a plain one.
pub(crate) fn is_secured(socket: &TransportSocket) -> bool {
    socket.name != "envoy.transport_sockets.raw_buffer"
}
