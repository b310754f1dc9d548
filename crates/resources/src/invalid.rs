//! What is wrong with a resource, and where in it.

use std::fmt;

/// A reason with the path of the field that it is about; the path grows on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    path: String,
    reason: String,
}

impl Invalid {
    /// `field` has the fault that `reason` says.
    pub(crate) fn at(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: field.into(),
            reason: reason.into(),
        }
    }

    /// The same fault, seen from the message that holds `field`.
    pub(crate) fn within(mut self, field: impl fmt::Display) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{field}{dot}{}", self.path);
        self
    }

    /// The bytes of `message` are no message of that type.
    pub(crate) fn undecodable(message: &str, error: &prost::DecodeError) -> Self {
        Self::at("", format!("not a valid {message}: {error}"))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

/// Adds where to errors.
pub(crate) trait Within<T> {
    /// Says that the error was in `field`; formatted only when there is one.
    fn within(self, field: impl fmt::Display) -> Result<T, Invalid>;
}

impl<T> Within<T> for Result<T, Invalid> {
    fn within(self, field: impl fmt::Display) -> Self {
        self.map_err(|invalid| invalid.within(field))
    }
}
