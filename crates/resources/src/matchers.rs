//! Conditions on headers, which are attributes here.

use meltemi_routing::{AttributeMatch, Matcher};

use crate::invalid::{Invalid, Within};
use crate::messages::envoy::config::route::v3 as envoy;
use crate::messages::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use crate::messages::envoy::r#type::matcher::v3::StringMatcher;
use crate::messages::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

/// The conditions of the repeated `field`.
pub(crate) fn header_matches(
    field: &str,
    from: &[envoy::HeaderMatcher],
) -> Result<Vec<AttributeMatch>, Invalid> {
    from.iter()
        .enumerate()
        .map(|(place, matcher)| header_match(matcher).within(format_args!("{field}[{place}]")))
        .collect()
}

fn header_match(from: &envoy::HeaderMatcher) -> Result<AttributeMatch, Invalid> {
    use HeaderMatchSpecifier as Wanted;
    if from.name.is_empty() {
        return Err(Invalid::at("name", "is empty"));
    }
    let mut invert = from.invert_match;
    let matcher = match &from.header_match_specifier {
        Some(Wanted::ExactMatch(value)) => Matcher::Exact(value.as_bytes().into()),
        Some(Wanted::PrefixMatch(value)) => Matcher::Prefix(value.as_bytes().into()),
        Some(Wanted::SuffixMatch(value)) => Matcher::Suffix(value.as_bytes().into()),
        Some(Wanted::ContainsMatch(value)) => Matcher::Contains(value.as_bytes().into()),
        Some(Wanted::SafeRegexMatch(value)) => Matcher::Regex(value.regex.as_str().into()),
        Some(Wanted::RangeMatch(range)) => Matcher::Range(range.start, range.end),
        Some(Wanted::StringMatch(value)) => string_match(value).within("string_match")?,
        Some(Wanted::PresentMatch(present)) => {
            invert ^= !present;
            Matcher::Present
        }
        None => Matcher::Present,
    };
    Ok(AttributeMatch {
        name: from.name.as_str().into(),
        matcher,
        invert,
        missing_is_empty: from.treat_missing_header_as_empty,
    })
}

/// What a text is compared with. An extension that would compare it is not known here, so that its
/// condition never holds.
pub(crate) fn string_match(from: &StringMatcher) -> Result<Matcher, Invalid> {
    let matcher = match &from.match_pattern {
        Some(MatchPattern::Exact(value)) => Matcher::Exact(value.as_bytes().into()),
        Some(MatchPattern::Prefix(value)) => Matcher::Prefix(value.as_bytes().into()),
        Some(MatchPattern::Suffix(value)) => Matcher::Suffix(value.as_bytes().into()),
        Some(MatchPattern::Contains(value)) => Matcher::Contains(value.as_bytes().into()),
        Some(MatchPattern::SafeRegex(value)) => {
            return Ok(Matcher::Regex(value.regex.as_str().into()));
        }
        Some(MatchPattern::Custom(())) => {
            return Ok(Matcher::Never("a custom matcher is not supported".into()));
        }
        None => return Err(Invalid::at("match_pattern", "is missing")),
    };
    Ok(if from.ignore_case {
        Matcher::IgnoreCase(Box::new(matcher))
    } else {
        matcher
    })
}
