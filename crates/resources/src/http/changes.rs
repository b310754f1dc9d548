//! Header changes of requests and replies.

use meltemi_routing::{Mutation, Mutations};

use super::Notes;
use crate::invalid::Invalid;
use crate::messages::envoy::config::core::v3::HeaderValueOption;
use crate::messages::envoy::config::core::v3::header_value_option::HeaderAppendAction;

/// The four fields of a message that changes headers, and what they are called before `_headers_to_add`.
pub(super) struct Fields<'m> {
    pub(super) request_add: &'m [HeaderValueOption],
    pub(super) request_remove: &'m [String],
    pub(super) response_add: &'m [HeaderValueOption],
    pub(super) response_remove: &'m [String],
}

/// The fields of any message that has all four.
macro_rules! fields {
    ($from:expr) => {
        $crate::http::changes::Fields {
            request_add: &$from.request_headers_to_add,
            request_remove: &$from.request_headers_to_remove,
            response_add: &$from.response_headers_to_add,
            response_remove: &$from.response_headers_to_remove,
        }
    };
}
pub(super) use fields;

impl Fields<'_> {
    /// What they change.
    pub(super) fn read(&self, notes: &mut Notes) -> Result<Mutations, Invalid> {
        let removed = removed("request_headers_to_remove", self.request_remove)?;
        let request = changes(removed, self.request_add, notes);
        let removed = self::removed("response_headers_to_remove", self.response_remove)?;
        let response = changes(removed, self.response_add, notes);
        Ok(Mutations { request, response })
    }
}

/// As in Envoy: what every message needs cannot be taken out.
fn removed(field: &str, names: &[String]) -> Result<Vec<Mutation>, Invalid> {
    let remove = |(place, name): (usize, &String)| {
        if name.is_empty() || name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            let reason = format!("{name:?} cannot be removed");
            return Err(Invalid::at(format!("{field}[{place}]"), reason));
        }
        Ok(Mutation::Remove(name.to_lowercase().into()))
    };
    names.iter().enumerate().map(remove).collect()
}

/// In Envoy's order: what is removed, what is overwritten, what is added.
fn changes(removed: Vec<Mutation>, add: &[HeaderValueOption], notes: &mut Notes) -> Vec<Mutation> {
    let mut all = removed;
    let mut added = Vec::new();
    for option in add {
        match added_header(option) {
            Ok(Some(change @ (Mutation::Append(..) | Mutation::SetIfMissing(..)))) => {
                added.push(change);
            }
            Ok(Some(change)) => all.push(change),
            Ok(None) => {}
            Err(note) => notes.add(note),
        }
    }
    all.append(&mut added);
    all
}

/// None: an empty value, which is not sent. The error says why there is nothing to send.
fn added_header(option: &HeaderValueOption) -> Result<Option<Mutation>, String> {
    let Some(header) = &option.header else {
        return Ok(None);
    };
    let text = if header.value.is_empty() {
        String::from_utf8_lossy(&header.raw_value)
    } else {
        header.value.as_str().into()
    };
    let Some(value) = without_commands(&text) else {
        return Err(format!(
            "header {:?} is not added: its value {text:?} is about the connection of a proxy",
            header.key
        ));
    };
    if value.is_empty() && !option.keep_empty_value {
        return Ok(None);
    }
    let (name, value) = (header.key.to_lowercase().into(), value.into());
    let action = HeaderAppendAction::try_from(option.append_action).unwrap_or_default();
    Ok(Some(match (option.append, action) {
        (Some(true), _) | (None, HeaderAppendAction::AppendIfExistsOrAdd) => {
            Mutation::Append(name, value)
        }
        (Some(false), _) | (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => {
            Mutation::Set(name, value)
        }
        (None, HeaderAppendAction::AddIfAbsent) => Mutation::SetIfMissing(name, value),
        (None, HeaderAppendAction::OverwriteIfExists) => Mutation::SetIfPresent(name, value),
    }))
}

/// `%%` stands for `%`; None where there is a command (`%PROTOCOL%`), which only a proxy can fill in.
fn without_commands(text: &str) -> Option<String> {
    let halves = text.split("%%");
    let halves: Vec<&str> = halves.collect();
    (!halves.iter().any(|half| half.contains('%'))).then(|| halves.join("%"))
}
