//! Istio's workload discovery: who is behind an address.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_balancer::Peer;

use crate::field::decode;
use crate::invalid::{Invalid, Within};
use crate::messages::istio::workload::{Address, Workload, address::Type};

/// The workload of a serialized `istio.workload.Address`, with its addresses: those that it names, or,
/// where it names none, the one that is the resource's name.
pub(crate) fn workload(name: &str, bytes: &[u8]) -> Result<(Vec<IpAddr>, Arc<Peer>), Invalid> {
    let message: Address = decode("istio.workload.Address", bytes)?;
    let Some(Type::Workload(workload)) = message.r#type else {
        return Err(Invalid::at("workload", "is missing"));
    };
    let addresses = addresses(name, &workload).within("workload")?;
    Ok((addresses, Arc::new(peer(workload))))
}

fn addresses(name: &str, workload: &Workload) -> Result<Vec<IpAddr>, Invalid> {
    if workload.addresses.is_empty() {
        let literal = name
            .rsplit_once('/')
            .map_or(name, |(_network, address)| address);
        let address = literal.parse().map_err(|_| {
            Invalid::at(
                "addresses",
                format!("is empty, and the name {name:?} is no IP address"),
            )
        })?;
        return Ok(vec![address]);
    }
    workload
        .addresses
        .iter()
        .enumerate()
        .map(|(place, bytes)| {
            let ip = <[u8; 4]>::try_from(&**bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(&**bytes).map(IpAddr::from));
            ip.map_err(|_| {
                let reason = format!("{} bytes, but an IP address has 4 or 16", bytes.len());
                Invalid::at(format!("addresses[{place}]"), reason)
            })
        })
        .collect()
}

fn peer(from: Workload) -> Peer {
    let workload = if from.workload_name.is_empty() {
        from.name
    } else {
        from.workload_name
    };
    Peer {
        workload: workload.into(),
        namespace: from.namespace.into(),
        app: from.canonical_name.into(),
        version: from.canonical_revision.into(),
        cluster: from.cluster_id.into(),
    }
}
