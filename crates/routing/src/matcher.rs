//! One condition on one attribute, as written and as compiled.

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::Attributes;
use crate::mark::Mark;

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
    /// A missing attribute counts as an empty one that is there (Envoy's
    /// `treat_missing_header_as_empty`).
    pub missing_is_empty: bool,
}

/// What a value is compared with; byte by byte, and case-sensitive if nothing else is said.
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
    /// How a path starts: the whole path, or up to a `/` (Envoy's `path_separated_prefix`).
    PathPrefix(Arc<[u8]>),
    /// The one in it, whatever the case of ASCII letters; an expression or a number is what it was.
    IgnoreCase(Box<Self>),
    /// A condition that cannot be evaluated here, and why: it never holds, inverted or not.
    Never(Arc<str>),
}

impl fmt::Display for AttributeMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        if self.invert {
            f.write_str("not ")?;
        }
        self.matcher.fmt(f)?;
        if self.missing_is_empty {
            f.write_str(", missing as empty,")?;
        }
        Ok(())
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
            Self::PathPrefix(value) => {
                write!(f, "path prefix {:?}", String::from_utf8_lossy(value))
            }
            Self::IgnoreCase(matcher) => write!(f, "{matcher} in any case"),
            Self::Never(reason) => write!(f, "cannot be evaluated ({reason}), so it"),
        }
    }
}

/// What the names of attributes start with that are parameters of a query.
pub(crate) const QUERY: char = '?';

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
    /// Whether a request without the attribute satisfies it.
    pub(crate) if_missing: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Exact(Arc<[u8]>),
    Prefix(Arc<[u8]>),
    Suffix(Arc<[u8]>),
    Contains(Arc<[u8]>),
    Regex(FullMatch),
    /// The expression of a lane's mark.
    Mark(Mark),
    Range(i64, i64),
    Present,
    PathPrefix(Arc<[u8]>),
    /// The value in lower case.
    IgnoreCase(Part, Arc<[u8]>),
    Never,
}

/// Which part of a value is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Whole,
    Start,
    End,
    Any,
    Path,
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
        let test = Test::compile(&from.matcher)?;
        // Names of query parameters are told apart by case; all others are not.
        let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        let name = if from.name.starts_with(QUERY) || from.name.bytes().all(plain) {
            Arc::clone(&from.name)
        } else {
            from.name.to_lowercase().into()
        };
        let if_missing = match &test {
            Test::Never => false,
            test if from.missing_is_empty => test.accepts(b"") != from.invert,
            Test::Present => from.invert,
            _ => false,
        };
        Ok(Self {
            name,
            // What never holds does not hold inverted.
            invert: from.invert && !matches!(test, Test::Never),
            if_missing,
            test,
        })
    }

    /// Whether only a value that is there, and that its test accepts, satisfies it.
    pub(crate) const fn is_positive(&self) -> bool {
        !self.invert && !self.if_missing
    }

    /// Whether a request satisfies the condition.
    pub(crate) fn holds(&self, attributes: &(impl Attributes + ?Sized)) -> bool {
        let Some(value) = attributes.get(&self.name) else {
            return self.if_missing;
        };
        let accepts = |value: &&[u8]| self.test.accepts(value);
        let accepted = accepts(&value) || attributes.more(&self.name).iter().any(accepts);
        accepted != self.invert
    }
}

impl Test {
    fn compile(from: &Matcher) -> Result<Self, String> {
        Ok(match from {
            Matcher::Exact(value) => Self::Exact(Arc::clone(value)),
            Matcher::Prefix(value) => Self::Prefix(Arc::clone(value)),
            Matcher::Suffix(value) => Self::Suffix(Arc::clone(value)),
            Matcher::Contains(value) => Self::Contains(Arc::clone(value)),
            Matcher::Regex(pattern) => Self::regex(pattern)?,
            Matcher::Range(start, end) => Self::Range(*start, *end),
            Matcher::Present => Self::Present,
            Matcher::PathPrefix(value) => Self::PathPrefix(Arc::clone(value)),
            Matcher::IgnoreCase(matcher) => Self::compile(matcher)?.ignoring_case(),
            Matcher::Never(_) => Self::Never,
        })
    }

    fn regex(pattern: &str) -> Result<Self, String> {
        let mark = Mark::of_pattern(pattern).filter(|_| pattern.len() <= PATTERN_BYTES);
        mark.map_or_else(
            || FullMatch::new(pattern).map(Self::Regex),
            |mark| Ok(Self::Mark(mark)),
        )
    }

    fn ignoring_case(self) -> Self {
        let (part, value) = match self {
            Self::Exact(value) => (Part::Whole, value),
            Self::Prefix(value) => (Part::Start, value),
            Self::Suffix(value) => (Part::End, value),
            Self::Contains(value) => (Part::Any, value),
            Self::PathPrefix(value) => (Part::Path, value),
            other => return other,
        };
        Self::IgnoreCase(part, value.to_ascii_lowercase().into())
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == &**wanted,
            Self::Prefix(wanted) => value.starts_with(wanted),
            Self::Suffix(wanted) => value.ends_with(wanted),
            Self::Contains(wanted) => contains(value, wanted),
            Self::Regex(regex) => regex.accepts(value),
            Self::Mark(mark) => mark.accepts(value),
            Self::Range(start, end) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
            Self::Present => true,
            Self::PathPrefix(wanted) => {
                value.starts_with(wanted) && ends_a_segment(value, wanted.len())
            }
            Self::IgnoreCase(part, wanted) => part.is(value, wanted),
            Self::Never => false,
        }
    }
}

impl Part {
    /// Whether this part of `value` is `wanted`, which is in lower case, without regard to case.
    fn is(self, value: &[u8], wanted: &[u8]) -> bool {
        let len = wanted.len();
        match self {
            Self::Whole => value.eq_ignore_ascii_case(wanted),
            Self::Start => is_at(value.get(..len), wanted),
            Self::End => {
                let start = value.len().checked_sub(len);
                is_at(start.map(|start| &value[start..]), wanted)
            }
            Self::Any => {
                len == 0 || {
                    let mut windows = value.windows(len);
                    windows.any(|window| window.eq_ignore_ascii_case(wanted))
                }
            }
            Self::Path => is_at(value.get(..len), wanted) && ends_a_segment(value, len),
        }
    }
}

fn is_at(part: Option<&[u8]>, wanted: &[u8]) -> bool {
    part.is_some_and(|part| part.eq_ignore_ascii_case(wanted))
}

/// Whether a path ends behind its first `len` bytes, or a `/` follows there.
fn ends_a_segment(path: &[u8], len: usize) -> bool {
    path.get(len).is_none_or(|next| *next == b'/')
}

fn contains(value: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || value.windows(wanted.len()).any(|window| window == wanted)
}

/// A regular expression that has to match the whole value.
#[derive(Clone, Debug)]
pub struct FullMatch {
    /// `.` and classes stand for characters.
    text: Regex,
    /// `.` and classes stand for bytes; asked only for values that are not UTF-8. None where the
    /// pattern needs characters (`\p{...}`): such a value then does not match.
    bytes: Option<Regex>,
}

impl FullMatch {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// As [`check_regex`].
    pub fn new(pattern: &str) -> Result<Self, String> {
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

    /// Whether `value` matches as a whole.
    #[must_use]
    pub fn accepts(&self, value: &[u8]) -> bool {
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
