//! Apache Thrift calls, written and read straight from the specification of its protocols.
//!
//! Transports: framed, unframed, THeader (magic 0x0FFF) and TTHeader (magic 0x1000) without header
//! entries of their own. Message protocols: binary (strict) and compact.

use super::{Answer, Call, Dialect};

const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;

const HEADER_MAGIC: [u8; 2] = [0x0f, 0xff];
const TTHEADER_MAGIC: [u8; 2] = [0x10, 0x00];
/// Length, magic, flags, sequence id, size of the header in words.
const HEADER_FIXED_BYTES: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Framed,
    Unframed,
    Header([u8; 2]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Binary,
    Compact,
}

/// Thrift in one transport and one message protocol.
pub(super) struct Thrift {
    transport: Transport,
    encoding: Encoding,
}

impl Thrift {
    /// Reads `framed-binary`, `unframed-compact`, `header-binary`, `ttheader-compact`, ...
    pub(super) fn parse(format: &str) -> Result<Self, String> {
        let format = if format.is_empty() {
            "framed-binary"
        } else {
            format
        };
        let unknown = || {
            format!(
                "the format {format} is not known: want {{framed,unframed,header,ttheader}}-{{binary,compact}}"
            )
        };
        let (transport, encoding) = format.split_once('-').ok_or_else(unknown)?;
        let transport = match transport {
            "framed" => Transport::Framed,
            "unframed" => Transport::Unframed,
            "header" => Transport::Header(HEADER_MAGIC),
            "ttheader" => Transport::Header(TTHEADER_MAGIC),
            _ => return Err(unknown()),
        };
        let encoding = match encoding {
            "binary" => Encoding::Binary,
            "compact" => Encoding::Compact,
            _ => return Err(unknown()),
        };
        Ok(Self {
            transport,
            encoding,
        })
    }

    /// The transport and message protocol that the first frame of a connection is written in.
    pub(super) fn detect(frame: &[u8]) -> Option<Self> {
        let encoding = |first: u8| match first {
            0x80 => Some(Encoding::Binary),
            0x82 => Some(Encoding::Compact),
            _ => None,
        };
        if let Some(encoding) = encoding(*frame.first()?) {
            return Some(Self {
                transport: Transport::Unframed,
                encoding,
            });
        }
        let transport = match frame.get(4..6)?.try_into().ok()? {
            HEADER_MAGIC => Transport::Header(HEADER_MAGIC),
            TTHEADER_MAGIC => Transport::Header(TTHEADER_MAGIC),
            _ => Transport::Framed,
        };
        let found = Self {
            transport,
            encoding: Encoding::Binary,
        };
        let encoding = encoding(*frame.get(found.payload(frame)?)?)?;
        Some(Self {
            transport,
            encoding,
        })
    }

    /// Where the message starts in a frame.
    fn payload(&self, frame: &[u8]) -> Option<usize> {
        match self.transport {
            Transport::Unframed => Some(0),
            Transport::Framed => Some(4),
            Transport::Header(magic) => {
                let words = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
                (frame.get(4..6)? == magic).then_some(HEADER_FIXED_BYTES + 4 * usize::from(words))
            }
        }
    }

    fn open_transport(&self, out: &mut Vec<u8>) {
        match self.transport {
            Transport::Unframed => {}
            Transport::Framed => out.extend_from_slice(&[0; 4]),
            Transport::Header(magic) => {
                let protocol = if self.encoding == Encoding::Compact {
                    2
                } else {
                    0
                };
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&magic);
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&1u32.to_be_bytes());
                out.extend_from_slice(&[0, 1, protocol, 0, 0, 0]);
            }
        }
    }

    /// Writes the length of the frame that starts at `start` and ends where `out` does.
    fn close_transport(&self, start: usize, out: &mut [u8]) {
        if self.transport != Transport::Unframed {
            let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    fn message(&self, kind: u8, id: u32, method: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Binary => {
                out.extend_from_slice(&[0x80, 0x01, 0x00, kind]);
                put_length(method.len(), out);
                out.extend_from_slice(method);
                out.extend_from_slice(&id.to_be_bytes());
            }
            Encoding::Compact => {
                out.extend_from_slice(&[0x82, 0x01 | kind << 5]);
                put_varint(id, out);
                put_varint(u32::try_from(method.len()).unwrap_or(u32::MAX), out);
                out.extend_from_slice(method);
            }
        }
    }

    /// A struct whose only field is the string `text`, in two pieces.
    fn string_struct(&self, field: u8, text: [&[u8]; 2], out: &mut Vec<u8>) {
        let length = text[0].len() + text[1].len();
        match self.encoding {
            Encoding::Binary => {
                out.extend_from_slice(&[11, 0, field]);
                put_length(length, out);
            }
            Encoding::Compact => {
                if field == 0 {
                    out.extend_from_slice(&[8, 0]);
                } else {
                    out.push(field << 4 | 8);
                }
                put_varint(u32::try_from(length).unwrap_or(u32::MAX), out);
            }
        }
        out.extend_from_slice(text[0]);
        out.extend_from_slice(text[1]);
        out.push(0);
    }

    fn read<'b>(&self, frame: &'b [u8]) -> Option<Message<'b>> {
        let mut reader = Reader {
            bytes: frame,
            at: self.payload(frame)?,
        };
        match self.encoding {
            Encoding::Binary => {
                let head = reader.take(4)?;
                if head[..3] != [0x80, 0x01, 0x00] {
                    return None;
                }
                let length = reader.length()?;
                let method = reader.take(length)?;
                let id = reader.u32()?;
                Some(Message {
                    kind: head[3],
                    id,
                    method,
                    body: reader,
                })
            }
            Encoding::Compact => {
                let head = reader.take(2)?;
                if head[0] != 0x82 || head[1] & 0x1f != 1 {
                    return None;
                }
                let id = reader.varint()?;
                let length = reader.varint()? as usize;
                let method = reader.take(length)?;
                Some(Message {
                    kind: head[1] >> 5,
                    id,
                    method,
                    body: reader,
                })
            }
        }
    }

    /// The string that is the first field of the struct, if that has the number `field`.
    fn first_string<'b>(&self, reader: &mut Reader<'b>, field: u8) -> Option<&'b [u8]> {
        let length = match self.encoding {
            Encoding::Binary => {
                if reader.take(3)? != [11, 0, field] {
                    return None;
                }
                reader.length()?
            }
            Encoding::Compact => {
                let short = field << 4 | 8;
                match reader.take(1)?[0] {
                    8 if reader.varint()? == u32::from(field) * 2 => {}
                    byte if field != 0 && byte == short => {}
                    _ => return None,
                }
                reader.varint()? as usize
            }
        };
        reader.take(length)
    }
}

impl Dialect for Thrift {
    fn request(&self, method: &str, argument: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        self.open_transport(out);
        self.message(CALL, 1, method.as_bytes(), out);
        self.string_struct(1, [argument, b""], out);
        self.close_transport(start, out);
    }

    fn behind_argument(&self) -> usize {
        1
    }

    fn call<'b>(&self, request: &'b [u8]) -> Option<Call<'b>> {
        let mut message = self.read(request)?;
        let argument = self.first_string(&mut message.body, 1)?;
        (message.kind == CALL).then_some(Call {
            method: message.method,
            argument,
        })
    }

    fn reply(&self, request: &[u8], text: [&[u8]; 2], out: &mut Vec<u8>) {
        let Some((payload, message)) = self.payload(request).zip(self.read(request)) else {
            return;
        };
        let start = out.len();
        // The header comes back as it was: it holds the request's own id.
        out.extend_from_slice(&request[..payload]);
        self.message(REPLY, message.id, message.method, out);
        self.string_struct(0, text, out);
        self.close_transport(start, out);
    }

    fn answer<'b>(&self, reply: &'b [u8], method: &str) -> Answer<'b> {
        let Some(mut message) = self.read(reply) else {
            return Answer::Broken("not a message of the protocol that was sent");
        };
        if message.method != method.as_bytes() {
            return Answer::Broken("the reply names another method");
        }
        match message.kind {
            REPLY => match self.first_string(&mut message.body, 0) {
                Some(text) if message.body.bytes[message.body.at..] == [0] => Answer::Text(text),
                Some(_) => Answer::Broken("bytes behind the result"),
                None => Answer::Broken("the result is no string"),
            },
            EXCEPTION => match self.first_string(&mut message.body, 1) {
                Some(text) => Answer::Exception(text),
                None => Answer::Broken("the exception has no message"),
            },
            _ => Answer::Broken("neither a reply nor an exception"),
        }
    }
}

struct Message<'b> {
    kind: u8,
    id: u32,
    method: &'b [u8],
    body: Reader<'b>,
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.u32().map(|length| length as usize)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [&str; 8] = [
        "framed-binary",
        "framed-compact",
        "unframed-binary",
        "unframed-compact",
        "header-binary",
        "header-compact",
        "ttheader-binary",
        "ttheader-compact",
    ];

    #[test]
    fn a_call_and_its_reply_are_read_as_written_in_every_format() {
        for format in FORMATS {
            let thrift = Thrift::parse(format).unwrap();
            let argument = vec![b'x'; 300];
            let (mut request, mut reply) = (Vec::new(), Vec::new());
            thrift.request("sayHello", &argument, &mut request);
            let call = Call {
                method: b"sayHello",
                argument: &argument,
            };
            let detected = Thrift::detect(&request).unwrap();
            let found = (detected.transport, detected.encoding);
            assert_eq!(found, (thrift.transport, thrift.encoding), "{format}");
            assert_eq!(thrift.call(&request), Some(call), "{format}");
            let from_end = request.len() - thrift.behind_argument();
            assert_eq!(request[from_end - 300..from_end], argument[..], "{format}");
            thrift.reply(&request, [&argument, b"@9000"], &mut reply);
            let text = [&argument[..], b"@9000"].concat();
            assert_eq!(
                thrift.answer(&reply, "sayHello"),
                Answer::Text(&text),
                "{format}"
            );
            assert!(
                matches!(thrift.answer(&reply, "sayBye"), Answer::Broken(_)),
                "{format}"
            );
            for cut in 0..reply.len() {
                assert!(matches!(
                    thrift.answer(&reply[..cut], "sayHello"),
                    Answer::Broken(_)
                ));
            }
        }
    }

    /// The bytes of Apache thrift 0.25 for Python: `sayHello("Bob")`, sequence id 1.
    #[test]
    fn a_request_has_the_bytes_of_apache_thrift() {
        let mut binary = Vec::new();
        Thrift::parse("framed-binary")
            .unwrap()
            .request("sayHello", b"Bob", &mut binary);
        assert_eq!(
            binary,
            b"\0\0\0\x1f\x80\x01\0\x01\0\0\0\x08sayHello\0\0\0\x01\x0b\0\x01\0\0\0\x03Bob\0"
        );
        let mut compact = Vec::new();
        Thrift::parse("unframed-compact")
            .unwrap()
            .request("sayHello", b"Bob", &mut compact);
        assert_eq!(compact, b"\x82\x21\x01\x08sayHello\x18\x03Bob\0");
    }

    #[test]
    fn an_exception_gives_its_message() {
        let thrift = Thrift::parse("framed-binary").unwrap();
        let frame = b"\0\0\0\x28\x80\x01\0\x03\0\0\0\x02hi\0\0\0\x01\x0b\0\x01\0\0\0\x04oops\x08\0\x02\0\0\0\x06\0";
        assert_eq!(thrift.answer(frame, "hi"), Answer::Exception(b"oops"));
    }

    #[test]
    fn a_format_that_is_not_known_says_what_is() {
        assert!(
            Thrift::parse("framed-json")
                .err()
                .unwrap()
                .contains("framed,unframed")
        );
    }
}
