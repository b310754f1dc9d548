//! Why there is no call.

use std::fmt;
use std::sync::Arc;

/// Why a call was not begun. Nothing was sent, nothing is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Resources that the call needs have not come: type URL and name of each, all that is known
    /// to be missing at once.
    NotKnown(Vec<(&'static str, Arc<str>)>),
    /// No virtual host, or none of its routes, is for the call.
    NoRoute(String),
    /// The cluster has no endpoint that may serve it.
    NoEndpoint(String),
    /// The cluster has as many requests as it may have (circuit breaker).
    Overflow(String),
    /// The route answers by itself: HTTP status and body.
    DirectResponse(u32, Arc<str>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKnown(missing) => {
                f.write_str("not known yet: ")?;
                for (place, (type_url, name)) in missing.iter().enumerate() {
                    let comma = if place > 0 { ", " } else { "" };
                    let kind = type_url.rsplit('.').next().unwrap_or(type_url);
                    write!(f, "{comma}{kind} {name:?}")?;
                }
                Ok(())
            }
            Self::NoRoute(reason) | Self::NoEndpoint(reason) | Self::Overflow(reason) => {
                f.write_str(reason)
            }
            Self::DirectResponse(status, body) if body.is_empty() => {
                write!(f, "the route answers with status {status}")
            }
            Self::DirectResponse(status, body) => {
                write!(f, "the route answers with status {status}: {body}")
            }
        }
    }
}

impl std::error::Error for Refused {}
