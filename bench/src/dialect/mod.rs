//! What stands in a message: written and read here, apart from the codec that is measured with it.
//!
//! A [`Dialect`] is one way to write a call that takes a string and returns one. Adding a protocol to
//! the tools is adding a dialect to [`Spoken::find`].

mod dubbo;
mod thrift;

use std::sync::Arc;

use meltemi_codec::Protocol;

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'b> {
    /// The string that the call returned.
    Text(&'b [u8]),
    /// The protocol's own exception, and its message.
    Exception(&'b [u8]),
    /// Neither; why.
    Broken(&'static str),
}

/// A request as its backend sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Call<'b> {
    /// The method.
    pub method: &'b [u8],
    /// The string that it was given.
    pub argument: &'b [u8],
}

/// One way to write a call `string method(1: string argument)`.
pub trait Dialect {
    /// Appends a request whose ids (all of them) are 1.
    fn request(&self, method: &str, argument: &[u8], out: &mut Vec<u8>);

    /// Bytes that an argument may have at most to be written, and sent back, in one piece.
    fn longest_argument(&self) -> usize {
        64 << 20
    }

    /// Bytes that stand behind the argument in a request: with them it is found from the end, whatever
    /// the length of the ids before it.
    fn behind_argument(&self) -> usize;

    /// Reads a whole request; `None` when it is none.
    fn call<'b>(&self, request: &'b [u8]) -> Option<Call<'b>>;

    /// Appends the reply to a whole request that [`Self::call`] reads: a text in two pieces.
    fn reply(&self, request: &[u8], text: [&[u8]; 2], out: &mut Vec<u8>);

    /// Reads a whole reply to a request for `method`.
    fn answer<'b>(&self, reply: &'b [u8], method: &str) -> Answer<'b>;
}

/// A protocol that the tools speak: what finds its frames and writes their ids, and its dialects.
pub struct Spoken {
    /// The codec, as the engine has it.
    pub protocol: Arc<dyn Protocol>,
    by_name: fn(&str) -> Result<Box<dyn Dialect>, String>,
    by_frame: fn(&[u8]) -> Option<Box<dyn Dialect>>,
}

impl Spoken {
    /// The protocol `name`.
    ///
    /// # Errors
    /// There is none of this name; the message lists those that there are.
    pub fn find(name: &str) -> Result<Self, String> {
        match name {
            "thrift" => Ok(Self {
                protocol: Arc::new(meltemi_codec::thrift::Thrift::new()),
                by_name: |format| Ok(Box::new(thrift::Thrift::parse(format)?)),
                by_frame: |frame| Some(Box::new(thrift::Thrift::detect(frame)?)),
            }),
            "dubbo" => Ok(Self {
                protocol: Arc::new(meltemi_codec::dubbo::Dubbo::new()),
                by_name: |format| Ok(Box::new(dubbo::Dubbo::parse(format)?)),
                by_frame: |frame| Some(Box::new(dubbo::Dubbo::detect(frame)?)),
            }),
            _ => Err(format!(
                "the protocol {name} is not known: want thrift or dubbo"
            )),
        }
    }

    /// The dialect of this name; the protocol's most common one where it is empty.
    ///
    /// # Errors
    /// There is none of this name; the message lists those that there are.
    pub fn dialect(&self, format: &str) -> Result<Box<dyn Dialect>, String> {
        (self.by_name)(format)
    }

    /// The dialect that the first whole frame of a connection is in.
    #[must_use]
    pub fn detect(&self, frame: &[u8]) -> Option<Box<dyn Dialect>> {
        (self.by_frame)(frame)
    }
}
