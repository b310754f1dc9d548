//! One condition on one attribute, as written and as compiled.

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

/// A condition on one attribute of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttributeMatch {
    /// The attribute; compared without case.
    pub name: Arc<str>,
    /// What its value has to be.
    pub matcher: Matcher,
    /// The value has to be there and *not* be that ([`Matcher::Present`]: it has not to be there).
    ///
    /// As in Envoy's `invert_match`: a missing attribute satisfies no condition on its value.
    pub invert: bool,
}

/// What a value is compared with; case-sensitive, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// The whole value.
    Exact(Arc<[u8]>),
    /// How it starts.
    Prefix(Arc<[u8]>),
    /// How it ends.
    Suffix(Arc<[u8]>),
    /// What is somewhere in it.
    Contains(Arc<[u8]>),
    /// A regular expression that the whole value has to match.
    Regex(Arc<str>),
    /// A decimal integer from the first to below the second (Envoy's `range_match`).
    Range(i64, i64),
    /// That there is a value at all, be it empty.
    Present,
}

impl fmt::Display for AttributeMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        if self.invert {
            f.write_str("not ")?;
        }
        self.matcher.fmt(f)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "exact {:?}", String::from_utf8_lossy(value)),
            Self::Prefix(value) => write!(f, "prefix {:?}", String::from_utf8_lossy(value)),
            Self::Suffix(value) => write!(f, "suffix {:?}", String::from_utf8_lossy(value)),
            Self::Contains(value) => write!(f, "contains {:?}", String::from_utf8_lossy(value)),
            Self::Regex(pattern) => write!(f, "regex {pattern:?}"),
            Self::Range(start, end) => write!(f, "in [{start}, {end})"),
            Self::Present => f.write_str("present"),
        }
    }
}

/// Memory that one compiled expression may take: Envoy's default for RE2 programs is of this order,
/// and 64 KiB of pattern with nested counts stops here instead of taking gigabytes.
const REGEX_SIZE_BYTES: usize = 1 << 20;

/// Bytes of a pattern; longer ones are refused before they are parsed.
const PATTERN_BYTES: usize = 4096;

/// Whether the engine takes `pattern`: it compiles, in linear time, within the size limit.
///
/// # Errors
/// The reason, as a sentence for whoever wrote the pattern.
pub fn check_regex(pattern: &str) -> Result<(), String> {
    FullMatch::new(pattern).map(|_| ())
}

/// A condition ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// Lower case.
    pub(crate) name: Arc<str>,
    pub(crate) test: Test,
    pub(crate) invert: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Exact(Arc<[u8]>),
    Prefix(Arc<[u8]>),
    Suffix(Arc<[u8]>),
    Contains(Arc<[u8]>),
    Regex(FullMatch),
    Range(i64, i64),
    Present,
}

/// The attribute of a condition that cannot be compiled, and why.
pub(crate) type Wrong = (Arc<str>, String);

/// Compiles conditions that all have to hold.
///
/// # Errors
/// Each condition that cannot be compiled, in order.
pub(crate) fn compile(wanted: &[AttributeMatch]) -> Result<Box<[Condition]>, Vec<Wrong>> {
    let mut errors = Vec::new();
    let mut conditions = Vec::with_capacity(wanted.len());
    for one in wanted {
        match Condition::compile(one) {
            Ok(condition) => conditions.push(condition),
            Err(reason) => errors.push((Arc::clone(&one.name), reason)),
        }
    }
    if errors.is_empty() {
        Ok(conditions.into())
    } else {
        Err(errors)
    }
}

impl Condition {
    pub(crate) fn compile(from: &AttributeMatch) -> Result<Self, String> {
        let test = match &from.matcher {
            Matcher::Exact(value) => Test::Exact(Arc::clone(value)),
            Matcher::Prefix(value) => Test::Prefix(Arc::clone(value)),
            Matcher::Suffix(value) => Test::Suffix(Arc::clone(value)),
            Matcher::Contains(value) => Test::Contains(Arc::clone(value)),
            Matcher::Regex(pattern) => Test::Regex(FullMatch::new(pattern)?),
            Matcher::Range(start, end) => Test::Range(*start, *end),
            Matcher::Present => Test::Present,
        };
        let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        let name = if from.name.bytes().all(plain) {
            Arc::clone(&from.name)
        } else {
            from.name.to_lowercase().into()
        };
        Ok(Self {
            name,
            test,
            invert: from.invert,
        })
    }

    /// Whether a request whose attribute has this value satisfies the condition.
    pub(crate) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (value, &self.test) {
            (_, Test::Present) => value.is_some() != self.invert,
            (Some(value), test) => test.accepts(value) != self.invert,
            (None, _) => false,
        }
    }
}

impl Test {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == &**wanted,
            Self::Prefix(wanted) => value.starts_with(wanted),
            Self::Suffix(wanted) => value.ends_with(wanted),
            Self::Contains(wanted) => contains(value, wanted),
            Self::Regex(regex) => regex.accepts(value),
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
            Self::Present => true,
        }
    }
}

fn contains(value: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || value.windows(wanted.len()).any(|window| window == wanted)
}

/// A regular expression that has to match the whole value.
#[derive(Clone, Debug)]
pub(crate) struct FullMatch {
    /// `.` and classes stand for characters.
    text: Regex,
    /// `.` and classes stand for bytes; asked only for values that are not UTF-8. None where the
    /// pattern needs characters (`\p{...}`): such a value then does not match.
    bytes: Option<Regex>,
}

impl FullMatch {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES {
            return Err(format!(
                "the pattern has {} bytes, more than the {PATTERN_BYTES} that are allowed",
                pattern.len()
            ));
        }
        // Alone first: `a)(b` would be valid between the parentheses that anchor it.
        build(pattern, true)?;
        Ok(Self {
            text: anchored(pattern, true)?,
            bytes: anchored(pattern, false).ok(),
        })
    }

    fn accepts(&self, value: &[u8]) -> bool {
        self.text.is_match(value)
            || (std::str::from_utf8(value).is_err()
                && self
                    .bytes
                    .as_ref()
                    .is_some_and(|regex| regex.is_match(value)))
    }
}

fn anchored(pattern: &str, unicode: bool) -> Result<Regex, String> {
    build(&format!(r"\A(?:{pattern})\z"), unicode)
        // A pattern in (?x) mode may end in a comment, which only a line break ends.
        .or_else(|reason| build(&format!("\\A(?:{pattern}\n)\\z"), unicode).map_err(|_| reason))
}

fn build(pattern: &str, unicode: bool) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .unicode(unicode)
        .size_limit(REGEX_SIZE_BYTES)
        .build()
        .map_err(|error| reason(&error))
}

/// The last line of a syntax error says what is wrong; the lines before it draw the pattern.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("the compiled expression is larger than {limit} bytes")
        }
        other => {
            let text = other.to_string();
            let line = text.lines().last().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}
