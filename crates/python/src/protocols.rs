//! The protocols that the engine knows, by the names under which configuration asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_codec::Protocol;
use meltemi_codec::dubbo::Dubbo;
use meltemi_codec::thrift::Thrift;

/// The start of the names that Aeraki gives to codecs.
const AERAKI: &str = "aeraki.meta_protocol.codec.";

/// Every protocol, under its own name and under its codec's name. A new protocol is added here.
pub(crate) fn protocols() -> HashMap<String, Arc<dyn Protocol>> {
    let all: [Arc<dyn Protocol>; 2] = [Arc::new(Thrift::new()), Arc::new(Dubbo::new())];
    all.into_iter()
        .flat_map(|protocol| {
            let name = protocol.name().to_owned();
            [
                (format!("{AERAKI}{name}"), Arc::clone(&protocol)),
                (name, protocol),
            ]
        })
        .collect()
}
