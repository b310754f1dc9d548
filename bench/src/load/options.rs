//! What a run does, as read from the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::arguments::{Arguments, Flag, UsageError};

/// Flags of `meltemi-load`.
pub const FLAGS: &[Flag] = &[
    flag(
        "protocol",
        Some('P'),
        Some("NAME"),
        "thrift or dubbo (default thrift)",
    ),
    flag(
        "format",
        Some('f'),
        Some("NAME"),
        "format of it (default framed-binary, hessian2)",
    ),
    flag(
        "connections",
        Some('c'),
        Some("N"),
        "connections, 1 to 60000 (default 1)",
    ),
    flag(
        "in-flight",
        Some('d'),
        Some("N"),
        "requests in flight on each, 1 to 4096 (default 1)",
    ),
    flag(
        "rate",
        Some('r'),
        Some("RPS"),
        "open loop: requests a second, whatever the answers take",
    ),
    flag(
        "payload",
        Some('s'),
        Some("BYTES"),
        "length of the argument, from 16 (default 32)",
    ),
    flag(
        "duration",
        Some('t'),
        Some("S"),
        "seconds that are measured, up to 600 (default 3)",
    ),
    flag(
        "warm-up",
        Some('w'),
        Some("S"),
        "seconds before that, up to 60 (default 0.5)",
    ),
    flag(
        "requests",
        Some('n'),
        Some("N"),
        "send no more than N requests",
    ),
    flag(
        "grace",
        Some('g'),
        Some("S"),
        "seconds to wait for the last replies (default 5)",
    ),
    flag(
        "method",
        Some('m'),
        Some("NAME"),
        "method that is called (default sayHello)",
    ),
    flag(
        "methods",
        Some('M'),
        Some("N"),
        "call N methods in turn: NAME00000, NAME00001, ...",
    ),
    flag(
        "reply",
        None,
        Some("PATTERN"),
        "e.g. 'Hello {echo}, response from {backend}'",
    ),
    flag(
        "expect-errors",
        None,
        None,
        "exceptions are answers too: count them, exit 0",
    ),
    flag(
        "record",
        None,
        Some("FILE"),
        "a line for each reply: start end method backend (ns)",
    ),
    flag(
        "idle",
        Some('k'),
        Some("N"),
        "further connections that never send",
    ),
    flag(
        "pid",
        Some('x'),
        Some("PID"),
        "process whose CPU time and memory to report; repeatable",
    ),
    flag("help", Some('h'), None, "this text"),
];

/// First line of the help.
pub const USAGE: &str = "meltemi-load [options] ADDRESS:PORT...\n\n\
    Sends requests over all addresses in turn and prints one JSON object.\n\
    Exit: 0 all replies came and were right, 2 wrong usage or no connection, 3 a reply was bad or lost.";

const fn flag(
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static str,
) -> Flag {
    Flag {
        long,
        short,
        value,
        help,
    }
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where connections go, in turn.
    pub addresses: Vec<SocketAddr>,
    /// Protocol by name.
    pub protocol: String,
    /// Format of the protocol by name; empty for its default.
    pub format: String,
    /// Connections that send.
    pub connections: usize,
    /// Connections that only stand there.
    pub idle: usize,
    /// Requests in flight on each connection at most.
    pub in_flight: u32,
    /// Open loop: requests a second.
    pub rate: Option<f64>,
    /// Length of the argument in bytes.
    pub payload_bytes: usize,
    /// Measured time.
    pub duration: Duration,
    /// Time before that.
    pub warm_up: Duration,
    /// Wait for the last replies.
    pub grace: Duration,
    /// Most requests to send.
    pub requests: u64,
    /// Method names, used in turn.
    pub methods: Vec<String>,
    /// What a reply looks like: before the echo, between echo and backend, behind the backend.
    pub reply: Option<[String; 3]>,
    /// Exceptions count apart from errors.
    pub expect_errors: bool,
    /// Where to write a line for each reply.
    pub record: Option<PathBuf>,
    /// Processes to measure.
    pub pids: Vec<u32>,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// A value that is not valid, or no address.
    pub fn read(arguments: &Arguments) -> Result<Self, UsageError> {
        let addresses = arguments
            .positional
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|_| UsageError(format!("{text}: want ADDRESS:PORT")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(UsageError("no ADDRESS:PORT to send to".to_owned()));
        }
        let seconds = |name, default, most| {
            arguments
                .number(name, default, 0.0, most)
                .map(Duration::from_secs_f64)
        };
        let rate = arguments.number("rate", 0.0, 0.1, 1e8)?;
        Ok(Self {
            addresses,
            protocol: arguments.text("protocol").unwrap_or("thrift").to_owned(),
            format: arguments.text("format").unwrap_or_default().to_owned(),
            connections: arguments.number("connections", 1, 1, 60_000)?,
            idle: arguments.number("idle", 0, 0, 60_000)?,
            in_flight: arguments.number("in-flight", 1, 1, 4096)?,
            rate: (rate > 0.0).then_some(rate),
            payload_bytes: arguments.number("payload", 32, 16, 64 << 20)?,
            duration: seconds("duration", 3.0, 600.0)?,
            warm_up: seconds("warm-up", 0.5, 60.0)?,
            grace: seconds("grace", 5.0, 60.0)?,
            requests: arguments.number("requests", u64::MAX, 1, u64::MAX)?,
            methods: methods(arguments)?,
            reply: arguments.text("reply").map(pattern).transpose()?,
            expect_errors: arguments.has("expect-errors"),
            record: arguments.text("record").map(PathBuf::from),
            pids: arguments.all("pid")?,
        })
    }
}

fn methods(arguments: &Arguments) -> Result<Vec<String>, UsageError> {
    let name = arguments.text("method").unwrap_or("sayHello");
    Ok(match arguments.number("methods", 0, 1, 100_000)? {
        0 => vec![name.to_owned()],
        count => (0..count)
            .map(|number| format!("{name}{number:05}"))
            .collect(),
    })
}

/// `Hello {echo}, response from {backend}` as the three texts around echo and backend.
fn pattern(text: &str) -> Result<[String; 3], UsageError> {
    let (before, rest) = text
        .split_once("{echo}")
        .ok_or_else(|| UsageError(format!("--reply {text}: no {{echo}} in it")))?;
    let (between, behind) = rest
        .split_once("{backend}")
        .ok_or_else(|| UsageError(format!("--reply {text}: no {{backend}} behind the echo")))?;
    Ok([before, between, behind].map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, UsageError> {
        let words = words.iter().map(|word| (*word).to_owned());
        Options::read(&Arguments::parse(FLAGS, words)?)
    }

    #[test]
    fn one_address_is_enough() {
        let options = read(&["127.0.0.1:9000"]).unwrap();
        assert_eq!(
            (
                options.connections,
                options.in_flight,
                options.payload_bytes
            ),
            (1, 1, 32)
        );
        assert_eq!(options.methods, ["sayHello"]);
        assert!(options.rate.is_none());
    }

    #[test]
    fn an_argument_too_short_for_its_echo_is_refused() {
        assert!(read(&["127.0.0.1:9000", "-s", "15"]).is_err());
        assert!(read(&["-s", "16"]).is_err());
        assert!(read(&["localhost:9000"]).is_err());
    }

    #[test]
    fn many_methods_get_numbers_of_one_length() {
        let options = read(&["127.0.0.1:9000", "-m", "m", "-M", "3"]).unwrap();
        assert_eq!(options.methods, ["m00000", "m00001", "m00002"]);
    }

    #[test]
    fn a_reply_pattern_names_echo_and_backend() {
        let options = read(&["127.0.0.1:1", "--reply", "Hello {echo}, from {backend}!"]).unwrap();
        assert_eq!(options.reply.unwrap(), ["Hello ", ", from ", "!"]);
        assert!(read(&["127.0.0.1:1", "--reply", "{backend}"]).is_err());
    }
}
