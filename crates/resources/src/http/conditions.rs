//! The conditions of a route of HTTP.

use meltemi_routing::{AttributeMatch, FULL_PATH, Matcher, PATH};

use crate::invalid::{Invalid, Within};
use crate::matchers::{header_matches, string_match};
use crate::messages::envoy::config::core::v3::RuntimeFractionalPercent;
use crate::messages::envoy::config::route::v3 as envoy;
use crate::messages::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::messages::envoy::config::route::v3::route_match::PathSpecifier;
use crate::messages::envoy::r#type::v3::fractional_percent::DenominatorType;

/// `application/grpc`, or that and what the messages are encoded in.
const GRPC: &str = r"application/grpc(\+.*)?";

/// All conditions of `from`; which cannot be evaluated is [`Matcher::Never`].
pub(super) fn conditions(from: &envoy::RouteMatch) -> Result<Vec<AttributeMatch>, Invalid> {
    let mut all = Vec::with_capacity(1 + from.headers.len());
    all.extend(path(from)?);
    for mut header in header_matches("headers", &from.headers)? {
        // A header condition looks at the path with its query.
        if header.name.eq_ignore_ascii_case(PATH) {
            header.name = FULL_PATH.into();
        }
        all.push(header);
    }
    for (place, wanted) in from.query_parameters.iter().enumerate() {
        let field = format_args!("query_parameters[{place}]");
        all.push(query_parameter(wanted).within(field)?);
    }
    if from.grpc.is_some() {
        all.push(condition("content-type", Matcher::Regex(GRPC.into())));
    }
    all.extend(fraction(from.runtime_fraction.as_ref()));
    let unknown = [
        ("tls_context", from.tls_context.is_some()),
        ("dynamic_metadata", !from.dynamic_metadata.is_empty()),
        ("filter_state", !from.filter_state.is_empty()),
    ];
    let unknown = unknown.into_iter().filter(|(_, used)| *used);
    all.extend(unknown.map(|(field, _)| never(field, "a call without a proxy has none")));
    Ok(all)
}

fn condition(name: &str, matcher: Matcher) -> AttributeMatch {
    AttributeMatch {
        name: name.into(),
        matcher,
        invert: false,
        missing_is_empty: false,
    }
}

/// A condition that does not hold; `field` is what asks for it.
pub(super) fn never(field: &str, reason: &str) -> AttributeMatch {
    condition(field, Matcher::Never(reason.into()))
}

fn path(from: &envoy::RouteMatch) -> Result<Option<AttributeMatch>, Invalid> {
    let matcher = match &from.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) if prefix.is_empty() => return Ok(None),
        Some(PathSpecifier::Prefix(prefix)) => Matcher::Prefix(prefix.as_bytes().into()),
        Some(PathSpecifier::Path(path)) => Matcher::Exact(path.as_bytes().into()),
        Some(PathSpecifier::SafeRegex(regex)) => {
            let matcher = Matcher::Regex(regex.regex.as_str().into());
            return Ok(Some(condition(PATH, matcher)));
        }
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            Matcher::PathPrefix(prefix.as_bytes().into())
        }
        Some(PathSpecifier::ConnectMatcher(())) => {
            let connect = Matcher::Exact(b"CONNECT".as_slice().into());
            return Ok(Some(condition(":method", connect)));
        }
        Some(PathSpecifier::PathMatchPolicy(())) => {
            return Ok(Some(never(
                "path_match_policy",
                "extensions are not known here",
            )));
        }
        None => {
            let reason = "one of prefix, path, safe_regex and path_separated_prefix is needed";
            return Err(Invalid::at("path_specifier", reason));
        }
    };
    let matcher = if from.case_sensitive == Some(false) {
        Matcher::IgnoreCase(Box::new(matcher))
    } else {
        matcher
    };
    Ok(Some(condition(PATH, matcher)))
}

/// The attribute of a parameter is its name behind a `?`.
fn query_parameter(from: &envoy::QueryParameterMatcher) -> Result<AttributeMatch, Invalid> {
    use QueryParameterMatchSpecifier as Wanted;
    if from.name.is_empty() {
        return Err(Invalid::at("name", "is empty"));
    }
    let (matcher, invert) = match &from.query_parameter_match_specifier {
        Some(Wanted::StringMatch(value)) => (string_match(value).within("string_match")?, false),
        Some(Wanted::PresentMatch(present)) => (Matcher::Present, !present),
        None => (Matcher::Present, false),
    };
    Ok(AttributeMatch {
        invert,
        ..condition(&format!("?{}", from.name), matcher)
    })
}

/// A share of all requests is left to chance by Envoy; a call must go where its rules send it.
fn fraction(from: Option<&RuntimeFractionalPercent>) -> Option<AttributeMatch> {
    let percent = from?.default_value.unwrap_or_default();
    let of = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    };
    let reason = format!("it is for {} of {of} requests", percent.numerator);
    (percent.numerator < of).then(|| never("runtime_fraction", &reason))
}
