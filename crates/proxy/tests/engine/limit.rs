//! A local rate limit as it comes with a listener.

use std::time::Duration;

use meltemi_proxy::LocalRateLimits;
use meltemi_resources::TypedConfig;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Tokens at most, tokens a fill, time between fills.
#[derive(Clone, Copy)]
pub(crate) struct Bucket(pub(crate) u64, pub(crate) u64, pub(crate) Duration);

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of a serialized message: a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    varint(value, &mut out);
    out
}

/// A field of a serialized message: text, or another message.
fn nested(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn bucket(Bucket(max_tokens, tokens_per_fill, interval): Bucket) -> Vec<u8> {
    let seconds = number(1, interval.as_secs());
    let nanos = number(2, interval.subsec_nanos().into());
    [
        number(1, max_tokens),
        nested(2, &number(1, tokens_per_fill)),
        nested(3, &[seconds, nanos].concat()),
    ]
    .concat()
}

/// The filter with a bucket for each of these methods, and one for all others.
pub(crate) fn limit(methods: &[(&str, Bucket)], default: Option<Bucket>) -> TypedConfig {
    let mut value = nested(1, b"hello.shop");
    value.extend(
        default
            .map(|one| nested(2, &bucket(one)))
            .unwrap_or_default(),
    );
    for (method, of) in methods {
        let header = [nested(1, b"method"), nested(4, method.as_bytes())].concat();
        let matched = nested(1, &nested(1, &header));
        value.extend(nested(3, &[matched, nested(2, &bucket(*of))].concat()));
    }
    TypedConfig {
        name: LocalRateLimits::NAME.into(),
        type_url: "type.googleapis.com/aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit".into(),
        value: value.into(),
    }
}
