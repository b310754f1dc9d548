//! The local rate limit of a listener: which requests take a token from which bucket.

use std::sync::Arc;
use std::time::Duration;

use meltemi_limiter::{Rate, RateError};
use meltemi_routing::{AttributeMatch, Attributes, ConditionTrace, FirstMatch, MatchError};

use crate::field::{decode, type_name};
use crate::invalid::{Invalid, Within};
use crate::matchers::header_matches;
use crate::messages::aeraki::meta_protocol_proxy::filters::local_ratelimit::v1alpha as aeraki;
use crate::messages::envoy::r#type::v3::TokenBucket;

/// The filter's name in a listener.
pub(crate) const FILTER: &str = "aeraki.meta_protocol.filters.local_ratelimit";

/// The type of its configuration.
pub(crate) const TYPE: &str =
    "aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit";

/// The first condition that matches a request says which bucket it takes a token from; where none
/// matches, it is the default bucket; where there is none, the request passes.
#[derive(Debug)]
pub struct LocalRateLimit {
    stat_prefix: Arc<str>,
    conditions: Vec<LimitCondition>,
    default: Option<Rate>,
    first: FirstMatch,
}

/// A condition of a limit, and the bucket of the requests that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitCondition {
    /// Conditions on attributes, all of which have to hold. None at all: every request matches.
    pub matches: Vec<AttributeMatch>,
    /// The bucket.
    pub rate: Rate,
}

impl LocalRateLimit {
    /// The filter's name in a listener: `aeraki.meta_protocol.filters.local_ratelimit`.
    pub const FILTER: &str = FILTER;

    /// The limit of a listener's packed configuration.
    ///
    /// # Errors
    /// That it is of another type, else as for [`LocalRateLimit::decode`].
    pub fn new(type_url: &str, value: &[u8]) -> Result<Self, String> {
        limit(type_url, value).map_err(|invalid| invalid.to_string())
    }

    /// The limit of a serialized `LocalRateLimit` of MetaProtocol Proxy.
    ///
    /// # Errors
    /// What is wrong with it, with the field's path, as [`crate::Store`] would refuse its listener.
    pub fn decode(value: &[u8]) -> Result<Self, String> {
        Self::new(TYPE, value)
    }

    /// Whose limit it is: the service's host.
    #[must_use]
    pub const fn stat_prefix(&self) -> &Arc<str> {
        &self.stat_prefix
    }

    /// The conditions, in order.
    #[must_use]
    pub fn conditions(&self) -> &[LimitCondition] {
        &self.conditions
    }

    /// The bucket of requests that no condition matches; None: they are not limited.
    #[must_use]
    pub const fn default_rate(&self) -> Option<Rate> {
        self.default
    }

    /// The place of the first condition that matches. Allocates nothing.
    #[must_use]
    #[inline]
    pub fn select(&self, attributes: &impl Attributes) -> Option<usize> {
        self.first.select(attributes)
    }

    /// What each condition made of the request, up to the first that matches.
    #[must_use]
    pub fn explain(&self, attributes: &dyn Attributes) -> Vec<Vec<ConditionTrace>> {
        self.first.explain(lists(&self.conditions), attributes)
    }
}

fn lists(conditions: &[LimitCondition]) -> impl Iterator<Item = &[AttributeMatch]> {
    conditions.iter().map(|condition| &*condition.matches)
}

pub(crate) fn limit(type_url: &str, value: &[u8]) -> Result<LocalRateLimit, Invalid> {
    if type_name(type_url) != TYPE {
        let reason = format!("{type_url:?}, not type.googleapis.com/{TYPE}");
        return Err(Invalid::at("@type", reason));
    }
    let message: aeraki::LocalRateLimit = decode(TYPE, value)?;
    let default = message.token_bucket.as_ref().map(rate).transpose();
    let conditions = message
        .conditions
        .iter()
        .enumerate()
        .map(|(place, from)| condition(from).within(format_args!("conditions[{place}]")))
        .collect::<Result<Vec<_>, _>>()?;
    let default = default.within("token_bucket")?;
    if default.is_none() && conditions.is_empty() {
        let reason = "is missing, and so are conditions";
        return Err(Invalid::at("token_bucket", reason));
    }
    let first = FirstMatch::new(lists(&conditions)).map_err(|errors| uncompilable(&errors))?;
    Ok(LocalRateLimit {
        stat_prefix: message.stat_prefix.as_str().into(),
        conditions,
        default,
        first,
    })
}

fn condition(from: &aeraki::LocalRateLimitCondition) -> Result<LimitCondition, Invalid> {
    let matches = match &from.r#match {
        Some(wanted) => header_matches("metadata", &wanted.metadata).within("match")?,
        None => Vec::new(),
    };
    let Some(bucket) = &from.token_bucket else {
        return Err(Invalid::at("token_bucket", "is missing"));
    };
    let rate = rate(bucket).within("token_bucket")?;
    Ok(LimitCondition { matches, rate })
}

/// As in Envoy, a bucket gets one token a fill where nothing else is said.
fn rate(from: &TokenBucket) -> Result<Rate, Invalid> {
    let Some(interval) = from.fill_interval else {
        return Err(Invalid::at("fill_interval", "is missing"));
    };
    let interval = Duration::try_from(interval).unwrap_or_default();
    Rate::new(from.max_tokens, from.tokens_per_fill.unwrap_or(1), interval).map_err(|error| {
        let field = match error {
            RateError::MaxTokens => "max_tokens",
            RateError::TokensPerFill => "tokens_per_fill",
            RateError::FillInterval => "fill_interval",
        };
        Invalid::at(field, error.to_string())
    })
}

fn uncompilable(errors: &[MatchError]) -> Invalid {
    let Some(first) = errors.first() else {
        return Invalid::at("conditions", "cannot be compiled");
    };
    let MatchError {
        ordinal,
        attribute,
        reason,
    } = first;
    Invalid::at(
        format!("conditions[{ordinal}].match"),
        format!("attribute {attribute:?}: {reason}"),
    )
}
