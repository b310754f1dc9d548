//! The seam for what must not go on: attributes as they came, and what stays of them.

use std::fmt::Debug;

/// Says what stays of attributes. A codec asks it about each that a reader of the message would find,
/// each time that it stands there.
pub trait Scrub: Debug {
    /// What stays of the attribute `name`. `value` is None where it is no text in one piece.
    fn scrub(&self, name: &[u8], value: Option<&[u8]>) -> Scrubbed;
}

/// What stays of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// It goes on byte for byte.
    Same,
    /// It has this value.
    Less(Vec<u8>),
    /// Nothing.
    Gone,
}

/// Whether a message holds what is to be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No.
    Nothing,
    /// Yes.
    Something,
    /// It has attributes that its reader may find and this codec cannot read.
    Unknown,
}
