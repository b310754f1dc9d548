//! Dubbo 2 calls in hessian2, written and read straight from the specification of both.
//!
//! A call is `String method(String)` of one interface, with the attachments that Apache Dubbo's own
//! consumers write. Strings of more than 32,768 characters are cut in chunks by hessian2, so an
//! argument that must be found in one piece is shorter.

use super::{Answer, Call, Dialect};

const MAGIC: [u8; 2] = [0xda, 0xbb];
const HEADER_BYTES: usize = 16;
const REQUEST: u8 = 0x80;
const TWO_WAY: u8 = 0x40;
const EVENT: u8 = 0x20;
const HESSIAN2: u8 = 2;
const OK: u8 = 20;
/// A reply's first byte: a small integer of hessian2 that says what follows.
const EXCEPTION: u8 = 0x90;
const VALUE: u8 = 0x91;
const VALUE_AND_ATTACHMENTS: u8 = 0x94;

const DUBBO_VERSION: &[u8] = b"2.0.2";
const INTERFACE: &[u8] = b"org.apache.dubbo.samples.basic.api.DemoService";
const SERVICE_VERSION: &[u8] = b"0.0.0";
const PARAMETERS: &[u8] = b"Ljava/lang/String;";

/// Room for what a backend adds to the argument that it sends back.
const LONGEST_ARGUMENT: usize = 32_000;

/// Dubbo in hessian2.
pub(super) struct Dubbo;

impl Dubbo {
    /// Reads `hessian2`.
    pub(super) fn parse(format: &str) -> Result<Self, String> {
        match format {
            "" | "hessian2" => Ok(Self),
            _ => Err(format!("the format {format} is not known: want hessian2")),
        }
    }

    /// Whether the first frame of a connection is Dubbo in hessian2.
    pub(super) fn detect(frame: &[u8]) -> Option<Self> {
        let hessian2 = frame.get(2)? & 0x1f == HESSIAN2;
        (frame.starts_with(&MAGIC) && hessian2).then_some(Self)
    }
}

impl Dialect for Dubbo {
    fn longest_argument(&self) -> usize {
        LONGEST_ARGUMENT
    }

    fn request(&self, method: &str, argument: &[u8], out: &mut Vec<u8>) {
        let start = open(REQUEST | TWO_WAY | HESSIAN2, 0, 1, out);
        for text in [
            DUBBO_VERSION,
            INTERFACE,
            SERVICE_VERSION,
            method.as_bytes(),
            PARAMETERS,
            argument,
        ] {
            put_string([text, b""], out);
        }
        put_attachments(out);
        close(start, out);
    }

    fn behind_argument(&self) -> usize {
        let mut attachments = Vec::new();
        put_attachments(&mut attachments);
        attachments.len()
    }

    fn call<'b>(&self, request: &'b [u8]) -> Option<Call<'b>> {
        let mut reader = Reader::of(request)?;
        if request[2] & (REQUEST | EVENT) != REQUEST {
            return None;
        }
        for _ in [DUBBO_VERSION, INTERFACE, SERVICE_VERSION] {
            reader.string()?;
        }
        let method = reader.string()?;
        (reader.string()? == PARAMETERS).then_some(())?;
        let argument = reader.string()?;
        Some(Call { method, argument })
    }

    fn reply(&self, request: &[u8], text: [&[u8]; 2], out: &mut Vec<u8>) {
        let Some(id) = request.get(4..12).and_then(|id| id.try_into().ok()) else {
            return;
        };
        let start = open(HESSIAN2, OK, u64::from_be_bytes(id), out);
        out.push(VALUE);
        put_string(text, out);
        close(start, out);
    }

    fn answer<'b>(&self, reply: &'b [u8], _method: &str) -> Answer<'b> {
        let Some(mut reader) = Reader::of(reply) else {
            return Answer::Broken("no frame of Dubbo");
        };
        if reply[2] & (REQUEST | EVENT) != 0 {
            return Answer::Broken("no reply");
        }
        if reply[3] != OK {
            return match reader.string() {
                Some(message) => Answer::Exception(message),
                None => Answer::Broken("a status without its message"),
            };
        }
        match reader.take(1) {
            Some([EXCEPTION]) => Answer::Exception(reader.rest()),
            Some([kind @ (VALUE | VALUE_AND_ATTACHMENTS)]) => match reader.string() {
                Some(_) if *kind == VALUE && !reader.rest().is_empty() => {
                    Answer::Broken("bytes behind the result")
                }
                Some(text) => Answer::Text(text),
                None => Answer::Broken("the result is no string"),
            },
            _ => Answer::Broken("neither a value nor an exception"),
        }
    }
}

/// Starts a frame; returns where.
fn open(flags: u8, status: u8, id: u64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[flags, status]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    start
}

/// Writes the length of the body of the frame that starts at `start` and ends where `out` does.
fn close(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    out[start + 12..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn put_attachments(out: &mut Vec<u8>) {
    out.push(b'H');
    for (name, value) in [
        (&b"path"[..], INTERFACE),
        (b"interface", INTERFACE),
        (b"version", SERVICE_VERSION),
    ] {
        put_string([name, b""], out);
        put_string([value, b""], out);
    }
    out.push(b'Z');
}

/// A string of ASCII in two pieces, together no longer than one chunk.
fn put_string(text: [&[u8]; 2], out: &mut Vec<u8>) {
    let length = text[0].len() + text[1].len();
    let [.., second, first] = (length as u64).to_be_bytes();
    match length {
        0..32 => out.push(first),
        32..1024 => out.extend_from_slice(&[0x30 + second, first]),
        _ => out.extend_from_slice(&[b'S', second, first]),
    }
    out.extend_from_slice(text[0]);
    out.extend_from_slice(text[1]);
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    /// Of the body of a whole frame.
    fn of(frame: &'b [u8]) -> Option<Self> {
        let length = frame.get(12..HEADER_BYTES)?.try_into().ok()?;
        let whole = HEADER_BYTES + u32::from_be_bytes(length) as usize;
        (frame.starts_with(&MAGIC) && frame.len() == whole).then_some(Self {
            bytes: frame,
            at: HEADER_BYTES,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    /// A string of ASCII in one chunk: there, its characters are its bytes.
    fn string(&mut self) -> Option<&'b [u8]> {
        let length = match self.take(1)?[0] {
            short @ 0..=0x1f => usize::from(short),
            medium @ 0x30..=0x33 => usize::from(medium - 0x30) << 8 | usize::from(self.take(1)?[0]),
            b'S' => usize::from(u16::from_be_bytes(self.take(2)?.try_into().ok()?)),
            _ => return None,
        };
        self.take(length)
    }

    fn rest(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_its_reply_are_read_as_written_at_every_length() {
        for length in [0, 16, 31, 32, 1023, 1024, LONGEST_ARGUMENT] {
            let argument = vec![b'x'; length];
            let (mut request, mut reply) = (Vec::new(), Vec::new());
            Dubbo.request("sayHello", &argument, &mut request);
            assert!(Dubbo::detect(&request).is_some());
            let call = Call {
                method: b"sayHello",
                argument: &argument,
            };
            assert_eq!(Dubbo.call(&request), Some(call), "{length}");
            let end = request.len() - Dubbo.behind_argument();
            assert_eq!(request[end - length..end], argument[..], "{length}");
            Dubbo.reply(&request, [&argument, b"@9000"], &mut reply);
            let text = [&argument[..], b"@9000"].concat();
            assert_eq!(Dubbo.answer(&reply, "sayHello"), Answer::Text(&text));
            assert_eq!(reply[4..12], request[4..12], "the request's id");
            for cut in (0..reply.len()).step_by(1 + length / 64) {
                let answer = Dubbo.answer(&reply[..cut], "sayHello");
                assert!(matches!(answer, Answer::Broken(_)), "{length} {cut}");
            }
        }
    }

    /// The codec shares no code with what is written here; both have to mean the same.
    #[test]
    fn the_codec_reads_method_and_interface_of_a_request() {
        use meltemi_codec::{Direction, Format, Limits, Protocol};
        let codec = meltemi_codec::dubbo::Dubbo::new();
        let mut request = Vec::new();
        Dubbo.request("sayHello", b"0123456789abcdef", &mut request);
        let mut decoder = codec.decoder(Direction::Request, Format::DETECT, Limits::default());
        let frame = decoder.decode(&request).unwrap().unwrap();
        assert_eq!((frame.len, frame.ids.message), (request.len(), 1));
        let attribute = |name| codec.attribute(&frame, &request, name);
        assert_eq!(attribute("method"), Some(&b"sayHello"[..]));
        assert_eq!(attribute("interface"), Some(INTERFACE));
    }

    #[test]
    fn an_error_status_and_an_exception_are_no_answers() {
        let mut error = Vec::new();
        let start = open(HESSIAN2, 60, 7, &mut error);
        put_string([b"no route", b""], &mut error);
        close(start, &mut error);
        assert_eq!(Dubbo.answer(&error, ""), Answer::Exception(b"no route"));
        let mut thrown = Vec::new();
        let start = open(HESSIAN2, OK, 7, &mut thrown);
        thrown.extend_from_slice(&[EXCEPTION, b'N']);
        close(start, &mut thrown);
        assert_eq!(Dubbo.answer(&thrown, ""), Answer::Exception(b"N"));
    }

    #[test]
    fn another_serialization_is_not_spoken() {
        let mut request = Vec::new();
        Dubbo.request("sayHello", b"x", &mut request);
        request[2] = REQUEST | TWO_WAY | 6;
        assert!(Dubbo::detect(&request).is_none());
        assert!(Dubbo::parse("fastjson").err().unwrap().contains("hessian2"));
    }
}
