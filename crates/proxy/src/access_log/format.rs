//! One request as a line: Envoy's words, values from the wire escaped.

use std::fmt::Write;
use std::net::SocketAddr;

use super::time;
use crate::stats::labels::Outcome;

/// What `text` stands for.
const TEXT: &str = "[%START_TIME%] %PROTOCOL% \"%REQ(METHOD)%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
     %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
     %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% \
     \"%UPSTREAM_CLUSTER%\" \"%ROUTE_NAME%\"";

/// What `json` holds: key, word.
const JSON: [(&str, &str); 14] = [
    ("start_time", "START_TIME"),
    ("protocol", "PROTOCOL"),
    ("method", "REQ(METHOD)"),
    ("response_code", "RESPONSE_CODE"),
    ("response_flags", "RESPONSE_FLAGS"),
    ("response_code_details", "RESPONSE_CODE_DETAILS"),
    ("bytes_received", "BYTES_RECEIVED"),
    ("bytes_sent", "BYTES_SENT"),
    ("duration", "DURATION"),
    ("downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"),
    ("downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS"),
    ("upstream_host", "UPSTREAM_HOST"),
    ("upstream_cluster", "UPSTREAM_CLUSTER"),
    ("route_name", "ROUTE_NAME"),
];

/// What is known of a request that is over.
pub(crate) struct Entry<'a> {
    /// Microseconds since 1970.
    pub(crate) start_us: u64,
    pub(crate) duration_ms: u64,
    pub(crate) protocol: &'a str,
    pub(crate) outcome: Outcome,
    /// Bytes of the request.
    pub(crate) received: u64,
    /// Bytes of the reply.
    pub(crate) sent: u64,
    pub(crate) downstream_remote: Option<SocketAddr>,
    pub(crate) downstream_local: SocketAddr,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) cluster: &'a str,
    pub(crate) route: &'a str,
    /// Attributes of the request that the format names, in the order of [`Format::attributes`].
    pub(crate) attributes: &'a [Vec<u8>],
    /// Attributes of the reply, in the order of [`Format::reply_attributes`].
    pub(crate) reply_attributes: &'a [Vec<u8>],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    StartTime,
    Duration,
    Protocol,
    Code,
    Flags,
    Details,
    Received,
    Sent,
    DownstreamRemote,
    DownstreamLocal,
    UpstreamHost,
    Cluster,
    Route,
    /// Index into [`Format::attributes`].
    Attribute(usize),
    /// Index into [`Format::reply_attributes`].
    ReplyAttribute(usize),
    /// Known to Envoy, without a meaning here: `-`.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Word(Word),
}

/// A compiled format.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    json: bool,
    attributes: Vec<String>,
    reply_attributes: Vec<String>,
}

impl Format {
    /// Compiles `text`, `json`, or a format of the user's own.
    ///
    /// # Errors
    /// Names the word that is not known, or the `%` that is never closed.
    pub(crate) fn parse(format: &str) -> Result<Self, String> {
        let mut parsed = Self {
            pieces: Vec::new(),
            json: format == "json",
            attributes: Vec::new(),
            reply_attributes: Vec::new(),
        };
        if parsed.json {
            for (number, (key, word)) in JSON.iter().enumerate() {
                let before = if number == 0 { "{" } else { "," };
                parsed
                    .pieces
                    .push(Piece::Literal(format!("{before}\"{key}\":")));
                let word = parsed.word(word)?;
                parsed.pieces.push(Piece::Word(word));
            }
            parsed.pieces.push(Piece::Literal("}".to_owned()));
            return Ok(parsed);
        }
        let mut rest = if format == "text" || format.is_empty() {
            TEXT
        } else {
            format.trim_end()
        };
        while let Some((literal, after)) = rest.split_once('%') {
            parsed.literal(literal);
            if let Some(after) = after.strip_prefix('%') {
                parsed.literal("%");
                rest = after;
                continue;
            }
            let Some((word, after)) = after.split_once('%') else {
                return Err(format!(
                    "the access log format has a % that is never closed: %{after}"
                ));
            };
            let word = parsed.word(word)?;
            parsed.pieces.push(Piece::Word(word));
            rest = after;
        }
        parsed.literal(rest);
        Ok(parsed)
    }

    /// Names of the attributes (lower case) that an [`Entry`] needs.
    pub(crate) fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The same of the reply.
    pub(crate) fn reply_attributes(&self) -> &[String] {
        &self.reply_attributes
    }

    /// Appends the line of `entry`.
    pub(crate) fn line(&self, entry: &Entry<'_>, into: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => into.extend_from_slice(text.as_bytes()),
                Piece::Word(word) => self.value(*word, entry, into),
            }
        }
        into.push(b'\n');
    }

    fn literal(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Literal(text.to_owned()));
        }
    }

    fn word(&mut self, word: &str) -> Result<Word, String> {
        // `%START_TIME(%s)%` and `%REQ(NAME?OTHER):9%`: the part in parentheses, if any.
        let (name, argument) = match word.split_once('(') {
            Some((name, rest)) => (name, rest.split([')', '?']).next().unwrap_or_default()),
            None => (word, ""),
        };
        Ok(match name {
            "START_TIME" => Word::StartTime,
            "DURATION" => Word::Duration,
            "PROTOCOL" => Word::Protocol,
            "RESPONSE_CODE" => Word::Code,
            "RESPONSE_FLAGS" => Word::Flags,
            "RESPONSE_CODE_DETAILS" => Word::Details,
            "BYTES_RECEIVED" => Word::Received,
            "BYTES_SENT" => Word::Sent,
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
                Word::DownstreamRemote
            }
            "DOWNSTREAM_LOCAL_ADDRESS" => Word::DownstreamLocal,
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Word::UpstreamHost,
            "UPSTREAM_CLUSTER" => Word::Cluster,
            "ROUTE_NAME" => Word::Route,
            "REQ" if !argument.is_empty() => Word::Attribute(place(&mut self.attributes, argument)),
            "RESP" if !argument.is_empty() => {
                Word::ReplyAttribute(place(&mut self.reply_attributes, argument))
            }
            "UPSTREAM_LOCAL_ADDRESS"
            | "UPSTREAM_TRANSPORT_FAILURE_REASON"
            | "CONNECTION_TERMINATION_DETAILS"
            | "REQUESTED_SERVER_NAME" => Word::Absent,
            _ => {
                return Err(format!(
                    "the access log format has an unknown word %{word}%"
                ));
            }
        })
    }

    fn value(&self, word: Word, entry: &Entry<'_>, into: &mut Vec<u8>) {
        match word {
            Word::Duration => self.number(entry.duration_ms, into),
            Word::Received => self.number(entry.received, into),
            Word::Sent => self.number(entry.sent, into),
            Word::StartTime => {
                let time = time::rfc3339(entry.start_us);
                self.quoted(into, |into| into.extend_from_slice(&time))
            }
            Word::Protocol => self.text(entry.protocol.as_bytes(), into),
            Word::Code => self.text(entry.outcome.code().as_bytes(), into),
            Word::Flags => self.text(entry.outcome.flag().as_bytes(), into),
            Word::Details => self.text(entry.outcome.details().as_bytes(), into),
            Word::DownstreamRemote => self.address(entry.downstream_remote, into),
            Word::DownstreamLocal => self.address(Some(entry.downstream_local), into),
            Word::UpstreamHost => self.address(entry.upstream, into),
            Word::Cluster => self.text(entry.cluster.as_bytes(), into),
            Word::Route => self.text(entry.route.as_bytes(), into),
            Word::Attribute(at) => {
                self.text(entry.attributes.get(at).map_or(b"", |value| value), into);
            }
            Word::ReplyAttribute(at) => {
                let value = entry.reply_attributes.get(at);
                self.text(value.map_or(b"", |value| value), into);
            }
            Word::Absent => self.text(b"", into),
        }
    }

    fn number(&self, value: u64, into: &mut Vec<u8>) {
        push_number(value, into);
    }

    fn address(&self, address: Option<SocketAddr>, into: &mut Vec<u8>) {
        match address {
            Some(address) => self.quoted(into, |into| push_address(address, into)),
            None => self.text(b"", into),
        }
    }

    fn text(&self, value: &[u8], into: &mut Vec<u8>) {
        if value.is_empty() {
            into.extend_from_slice(if self.json { b"null" } else { b"-" });
        } else if self.json {
            self.quoted(into, |into| escape_json(value, into));
        } else {
            escape_text(value, into);
        }
    }

    fn quoted(&self, into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.json {
            into.push(b'"');
        }
        write(into);
        if self.json {
            into.push(b'"');
        }
    }
}

/// The place of a name in a list, where it comes once.
fn place(names: &mut Vec<String>, name: &str) -> usize {
    let name = name.to_lowercase();
    if let Some(at) = names.iter().position(|other| *other == name) {
        return at;
    }
    names.push(name);
    names.len() - 1
}

/// Appends a number. A line holds a dozen of them, with those of addresses, and the formatter of the
/// standard library takes several times as long. Bytes, not a String: that would look at each of them
/// once more.
fn push_number(value: u64, into: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let start = before(&mut digits, 20, value);
    into.extend_from_slice(&digits[start..]);
}

/// Writes a number before `end`; where it begins.
fn before(text: &mut [u8], end: usize, mut value: u64) -> usize {
    let mut at = end;
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

fn push_address(address: SocketAddr, into: &mut Vec<u8>) {
    let SocketAddr::V4(v4) = address else {
        return into.extend_from_slice(address.to_string().as_bytes());
    };
    let mut text = *b"255.255.255.255:65535";
    let mut start = before(&mut text, 21, u64::from(v4.port()));
    for (part, behind) in v4.ip().octets().into_iter().zip(*b"...:").rev() {
        start -= 1;
        text[start] = behind;
        start = before(&mut text, start, u64::from(part));
    }
    into.extend_from_slice(&text[start..]);
}

/// Whether a value needs no escaping, as nearly all.
fn is_plain(value: &[u8]) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    // Not `all`: looking at every byte is faster, many at once, than stopping at the first.
    value.iter().fold(true, |all, byte| all & is_plain(*byte))
}

/// Appends `value` so that it can end neither its line nor its quotes.
fn escape_text(value: &[u8], into: &mut Vec<u8>) {
    if is_plain(value) {
        return into.extend_from_slice(value);
    }
    let mut text = String::with_capacity(value.len() * 2);
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                _ if letter.is_control() => text.extend(letter.escape_unicode()),
                _ => text.push(letter),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    into.extend_from_slice(text.as_bytes());
}

fn escape_json(value: &[u8], into: &mut Vec<u8>) {
    if is_plain(value) {
        return into.extend_from_slice(value);
    }
    let mut text = String::with_capacity(value.len() * 2);
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                // Writing to a String cannot fail.
                _ if letter.is_control() => {
                    let _ = write!(text, "\\u{:04x}", letter as u32);
                }
                _ => text.push(letter),
            }
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, method: &[u8]) -> String {
        let format = Format::parse(format).unwrap();
        let entry = Entry {
            start_us: 0,
            duration_ms: 7,
            protocol: "thrift",
            outcome: Outcome::Local(meltemi_codec::ErrorKind::Timeout),
            received: 40,
            sent: 50,
            downstream_remote: None,
            downstream_local: "127.0.0.1:9090".parse().unwrap(),
            upstream: None,
            cluster: "outbound|9090|v1|a.b",
            route: "r",
            attributes: &[method.to_vec()],
            reply_attributes: &[b"blue".to_vec()],
        };
        let mut line = Vec::new();
        format.line(&entry, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_value_from_the_wire_ends_neither_its_line_nor_its_quotes() {
        let evil = b"a\"b\n\x1b[31m\\\xff\xc2\x85";
        let text = written("\"%REQ(METHOD)%\"", evil);
        assert_eq!(text, "\"a\\\"b\\u{a}\\u{1b}[31m\\\\\\xff\\u{85}\"\n");
        let json = written("json", evil);
        assert_eq!(json.matches('\n').count(), 1);
        assert!(
            json.contains(r#""method":"a\"b\u000a\u001b[31m\\"#),
            "{json}"
        );
    }

    #[test]
    fn text_and_json_and_own_formats_say_the_same() {
        let own = written(
            "%DURATION% %RESPONSE_FLAGS% 100%% %UPSTREAM_HOST% %REQ(:METHOD)% %RESP(X-Lane?Y):9%",
            b"m",
        );
        assert_eq!(own, "7 UT 100% - m blue\n");
        let text = written("text", b"m");
        assert!(
            text.starts_with("[1970-01-01T00:00:00.000Z] thrift \"m\" 1 UT timeout 40 50 7 - ")
        );
        let json = written("json", b"m");
        assert!(json.contains("\"response_flags\":\"UT\"") && json.contains("\"duration\":7"));
        assert!(json.contains("\"upstream_host\":null"));
    }

    #[test]
    fn numbers_and_addresses_are_written_as_the_standard_library_writes_them() {
        let mut line = Vec::new();
        for value in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            line.clear();
            push_number(value, &mut line);
            assert_eq!(line, value.to_string().as_bytes());
        }
        for address in [
            "0.0.0.0:0",
            "127.10.200.255:65535",
            "[::1]:80",
            "[fe80::1%7]:9",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            line.clear();
            push_address(address, &mut line);
            assert_eq!(line, address.to_string().as_bytes());
        }
    }

    #[test]
    fn an_unknown_word_and_an_open_percent_sign_are_named() {
        assert!(Format::parse("%NO_SUCH%").unwrap_err().contains("NO_SUCH"));
        assert!(
            Format::parse("a %DURATION")
                .unwrap_err()
                .contains("never closed")
        );
    }
}
