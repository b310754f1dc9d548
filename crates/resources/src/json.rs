//! Messages that travel as `google.protobuf.Struct`, the JSON form of a message.
//!
//! Strict where it can be: a field that the message does not have is an error that names it. As in
//! proto3 JSON, a field may be written in snake_case or in lowerCamelCase, and `null` means not set.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Duration, ListValue, Struct, Value};

use crate::invalid::{Invalid, Within};

/// The fields of one JSON object that nobody asked for yet.
pub(crate) struct Object<'a> {
    fields: BTreeMap<&'a str, &'a Kind>,
}

impl<'a> Object<'a> {
    pub(crate) fn new(from: &'a Struct) -> Self {
        let set = from
            .fields
            .iter()
            .filter_map(|(name, value)| match value.kind.as_ref()? {
                Kind::NullValue(_) => None,
                kind => Some((name.as_str(), kind)),
            });
        Self {
            fields: set.collect(),
        }
    }

    /// The value of the field with this name (in snake_case), which then counts as asked for.
    fn take(&mut self, name: &str) -> Option<&'a Kind> {
        let short = self.fields.remove(name);
        short.or_else(|| self.fields.remove(&*lower_camel(name)))
    }

    /// Reads a field with `read`; its default when it is not set.
    pub(crate) fn read<T: Default>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a Kind) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.take(name)
            .map_or_else(|| Ok(T::default()), read)
            .within(name)
    }

    /// Reads a field with `read`; None when it is not set.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a Kind) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.take(name).map(read).transpose().within(name)
    }

    /// Takes a field whose value is not used.
    pub(crate) fn skip(&mut self, name: &str) {
        self.take(name);
    }

    /// An error that names a field which nobody asked for.
    pub(crate) fn finish(self) -> Result<(), Invalid> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(Invalid::at(*name, "is not a known field, or is set twice")),
        }
    }
}

/// `stat_prefix` as `statPrefix`.
fn lower_camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        match character {
            '_' => upper = true,
            _ if upper => {
                camel.push(character.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(character),
        }
    }
    camel
}

pub(crate) fn object(from: &Kind) -> Result<Object<'_>, Invalid> {
    match from {
        Kind::StructValue(fields) => Ok(Object::new(fields)),
        _ => Err(Invalid::at("", "an object is needed here")),
    }
}

pub(crate) fn string(from: &Kind) -> Result<String, Invalid> {
    match from {
        Kind::StringValue(text) => Ok(text.clone()),
        _ => Err(Invalid::at("", "a string is needed here")),
    }
}

pub(crate) fn boolean(from: &Kind) -> Result<bool, Invalid> {
    match from {
        Kind::BoolValue(value) => Ok(*value),
        _ => Err(Invalid::at("", "true or false is needed here")),
    }
}

/// An integer, as a number or as a string.
pub(crate) fn integer<N: TryFrom<i64>>(from: &Kind) -> Result<N, Invalid> {
    /// Above, a double is no exact integer any more.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = match from {
        Kind::NumberValue(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
            Some(*number as i64)
        }
        Kind::StringValue(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| {
        Invalid::at(
            "",
            "an integer is needed here, within the range of the field",
        )
    })
}

/// A duration as in proto3 JSON: `1.5s`.
pub(crate) fn duration(from: &Kind) -> Result<Duration, Invalid> {
    let text = string(from)?;
    text.parse().map_err(|_| {
        Invalid::at(
            "",
            format!("{text:?} is no duration: seconds with an `s` are needed, as in \"1.5s\""),
        )
    })
}

/// Reads each element of a list with `read`.
pub(crate) fn list<'a, T>(
    from: &'a Kind,
    mut read: impl FnMut(&'a Kind) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let Kind::ListValue(ListValue { values }) = from else {
        return Err(Invalid::at("", "a list is needed here"));
    };
    let element = |(place, value): (usize, &'a Value)| {
        let kind = value.kind.as_ref().unwrap_or(&Kind::NullValue(0));
        read(kind).within(format_args!("[{place}]"))
    };
    values.iter().enumerate().map(element).collect()
}
