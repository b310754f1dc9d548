//! Makes requests, each with an echo that no other request has, and judges what comes back.

use std::io::Write;
use std::sync::Arc;

use meltemi_codec::{Direction, Edit, Format, Frame, Ids, Limits, Protocol};

use super::options::Options;
use super::tally::{Fault, Tally};
use crate::dialect::{Answer, Dialect, Spoken};
use crate::socket::now_ns;

/// Bytes of the echo: four hexadecimal digits of the run and twelve of the request.
const ECHO_BYTES: usize = 16;

/// The digits of the request.
const NUMBER: u64 = 0xffff_ffff_ffff;

/// Largest frame that a reply may be.
const LIMITS: Limits = Limits {
    max_frame_bytes: 128 << 20,
    max_depth: 64,
    max_elements: 1 << 20,
};

/// A request that waits for its reply.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it should have started, in nanoseconds of the monotonic clock.
    pub started_ns: u64,
    /// Its number: the echo says it.
    pub number: u64,
}

/// What all connections of a run share.
pub struct Plan {
    protocol: Arc<dyn Protocol>,
    dialect: Box<dyn Dialect>,
    templates: Vec<Template>,
    payload_bytes: usize,
    /// [`Dialect::behind_argument`], asked once.
    behind_argument: usize,
    /// What stands before the echo in a right answer.
    before: Vec<u8>,
    /// What stands between the echo and the backend's name: the rest of the argument, and more.
    between: Vec<u8>,
    /// What stands behind the backend's name.
    behind: Vec<u8>,
    /// Whether an answer without a backend's name is right too.
    bare: bool,
    run: u64,
    expect_errors: bool,
    record: Option<std::io::BufWriter<std::fs::File>>,
    /// What was counted.
    pub tally: Tally,
    /// Requests that may still be sent.
    pub left: u64,
}

/// A request for one method, to which only id and echo are missing.
struct Template {
    method: String,
    bytes: Vec<u8>,
    frame: Frame,
}

impl Plan {
    /// Prepares a run.
    ///
    /// # Errors
    /// The protocol is not known, its codec does not take the request that the dialect wrote, or the
    /// record cannot be written.
    pub fn new(options: &Options) -> Result<Self, String> {
        let spoken = Spoken::find(&options.protocol)?;
        let dialect = spoken.dialect(&options.format)?;
        let longest = dialect.longest_argument();
        if options.payload_bytes > longest {
            return Err(format!(
                "--payload {}: {} takes no more than {longest} in one piece",
                options.payload_bytes, options.protocol
            ));
        }
        let filler: Vec<u8> = (b'a'..=b'z').cycle().take(options.payload_bytes).collect();
        let templates = options
            .methods
            .iter()
            .map(|method| Template::new(&*spoken.protocol, &*dialect, method, &filler))
            .collect::<Result<_, _>>()?;
        let record = match &options.record {
            Some(path) => Some(
                std::fs::File::create(path)
                    .map(std::io::BufWriter::new)
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            None => None,
        };
        let [before, between, behind] = options
            .reply
            .clone()
            .unwrap_or_else(|| ["", "@", ""].map(str::to_owned));
        Ok(Self {
            protocol: spoken.protocol,
            behind_argument: dialect.behind_argument(),
            dialect,
            templates,
            payload_bytes: filler.len(),
            before: before.into_bytes(),
            between: [&filler[ECHO_BYTES..], between.as_bytes()].concat(),
            behind: behind.into_bytes(),
            bare: options.reply.is_none(),
            run: (now_ns() ^ u64::from(std::process::id()) << 4) & 0xffff,
            expect_errors: options.expect_errors,
            record,
            tally: Tally::default(),
            left: options.requests,
        })
    }

    /// A decoder for the replies of a new connection.
    #[must_use]
    pub fn decoder(&self) -> Box<dyn meltemi_codec::Decoder> {
        self.protocol
            .decoder(Direction::Response, self.templates[0].frame.format, LIMITS)
    }

    /// Ids from 1 to this can be written into a request.
    #[must_use]
    pub fn max_id(&self) -> u64 {
        self.protocol.max_id()
    }

    /// Appends the next request to `out`, with the id `id`; returns its number.
    pub fn request(&mut self, id: u64, out: &mut Vec<u8>) -> u64 {
        let number = self.tally.sent;
        self.tally.sent += 1;
        self.left -= 1;
        let template = &self.templates[self.method_of(number)];
        let ids = Ids {
            message: id,
            header: if template.frame.ids.header == 0 {
                0
            } else {
                id
            },
        };
        let edit = Edit {
            ids: Some(ids),
            ..Edit::default()
        };
        self.protocol
            .encode(&template.frame, &template.bytes, &edit, out);
        let argument = out.len() - self.behind_argument - self.payload_bytes;
        out[argument..argument + ECHO_BYTES].copy_from_slice(&self.echo(number));
        number
    }

    /// Judges the whole reply `bytes` to the request `asked`.
    pub fn judge(&mut self, asked: Asked, bytes: &[u8], now: u64) {
        let method = self.method_of(asked.number);
        let name = &self.templates[method].method;
        match self.dialect.answer(bytes, name) {
            Answer::Text(text) => match self.backend(asked.number, text) {
                Some(backend) => {
                    self.tally
                        .answer(now.saturating_sub(asked.started_ns), backend);
                    self.write_record(asked, now, method, "", backend);
                }
                None => self.wrong(asked, text),
            },
            Answer::Exception(message) => {
                self.tally.exception(message, self.expect_errors);
                self.write_record(asked, now, method, "!", message);
            }
            Answer::Broken(why) => {
                self.tally.fault(Fault::BrokenReply, 1, || {
                    format!("{why}: {}", bytes.escape_ascii())
                });
            }
        }
    }

    /// Writes what is left of the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish_record(&mut self) -> std::io::Result<()> {
        self.record.as_mut().map_or(Ok(()), std::io::Write::flush)
    }

    fn method_of(&self, number: u64) -> usize {
        (number % self.templates.len() as u64) as usize
    }

    /// The 16 hexadecimal digits that only request `number` has.
    fn echo(&self, number: u64) -> [u8; ECHO_BYTES] {
        hexadecimal(self.run << 48 | number & NUMBER).to_be_bytes()
    }

    /// The backend that a right answer to request `number` names; `None`: it is wrong.
    fn backend<'t>(&self, number: u64, text: &'t [u8]) -> Option<&'t [u8]> {
        let rest = without_prefix(text, &self.before)?;
        let (echo, rest) = rest.split_first_chunk::<ECHO_BYTES>()?;
        // Compared as numbers: what was just put together would be slow to read back from memory.
        if u128::from_be_bytes(*echo) != hexadecimal(self.run << 48 | number & NUMBER) {
            return None;
        }
        match rest.strip_prefix(&self.between[..]) {
            Some(rest) if self.behind.is_empty() => Some(rest),
            Some(rest) => rest.strip_suffix(&self.behind[..]),
            None => (self.bare && *rest == self.between[..self.payload_bytes - ECHO_BYTES])
                .then_some(b""),
        }
    }

    fn wrong(&mut self, asked: Asked, text: &[u8]) {
        let echo = self.echo(asked.number);
        let of_this_run = text
            .get(self.before.len()..self.before.len() + ECHO_BYTES)
            .is_some_and(|other| other.starts_with(&echo[..4]) && other != echo);
        let fault = if of_this_run {
            Fault::AnotherRequestsReply
        } else {
            Fault::CorruptReply
        };
        self.tally.fault(fault, 1, || {
            format!("asked {}, got {}", echo.escape_ascii(), text.escape_ascii())
        });
    }

    /// A line of the record: start, end, method, and the backend, or `!` and the exception's message.
    fn write_record(&mut self, asked: Asked, now: u64, method: usize, mark: &str, outcome: &[u8]) {
        let Some(record) = &mut self.record else {
            return;
        };
        let outcome = String::from_utf8_lossy(outcome).replace('\n', " ");
        // A record that cannot be written fails the run at its end, in `finish_record`.
        let _ = writeln!(
            record,
            "{} {now} {method} {mark}{outcome}",
            asked.started_ns
        );
    }
}

/// An empty prefix is not compared: `memcmp` of no bytes at the address of an empty `Vec`, which is
/// no real one, takes 80 ns where its masked loads suppress a fault (AVX-512 on Zen 4).
fn without_prefix<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    if prefix.is_empty() {
        Some(text)
    } else {
        text.strip_prefix(prefix)
    }
}

/// `value` in 16 hexadecimal digits, all at once: this is done twice a request.
const fn hexadecimal(value: u64) -> u128 {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let mut digits = value as u128;
    let mut width = 32;
    while width >= 4 {
        // Moves the upper half of each group of digits away from the lower one.
        let lower = u128::MAX / ((1 << width) + 1);
        digits = (digits | digits << width) & lower;
        width /= 2;
    }
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    digits + ONES * 0x30 + letters * 0x27
}

impl Template {
    fn new(
        protocol: &dyn Protocol,
        dialect: &dyn Dialect,
        method: &str,
        argument: &[u8],
    ) -> Result<Self, String> {
        let mut bytes = Vec::new();
        dialect.request(method, argument, &mut bytes);
        let frame = protocol
            .decoder(Direction::Request, Format::DETECT, LIMITS)
            .decode(&bytes)
            .map_err(|error| format!("the codec does not take our request: {error}"))?
            .filter(|frame| frame.len == bytes.len() && frame.rewritable)
            .ok_or("the codec sees another frame than was written")?;
        Ok(Self {
            method: method.to_owned(),
            bytes,
            frame,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;

    #[test]
    fn every_digit_of_an_echo_is_the_numbers_own() {
        let mut value = 0x0123_4567_89ab_cdef_u64;
        for _ in 0..1000 {
            assert_eq!(
                hexadecimal(value).to_be_bytes(),
                *format!("{value:016x}").as_bytes()
            );
            value = value.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        assert_eq!(hexadecimal(u64::MAX).to_be_bytes(), *b"ffffffffffffffff");
    }
}
