//! What the backend does, as read from the command line.

use std::net::SocketAddr;
use std::time::Duration;

use crate::arguments::{Arguments, Flag, UsageError};

/// Flags of `meltemi-echo`.
pub const FLAGS: &[Flag] = &[
    flag(
        "protocol",
        Some('P'),
        Some("NAME"),
        "thrift or dubbo (default thrift)",
    ),
    flag(
        "ports",
        Some('n'),
        Some("N"),
        "listen on N ports from each address on (default 1)",
    ),
    flag(
        "delay",
        Some('d'),
        Some("US"),
        "microseconds from a call to its reply (default 0)",
    ),
    flag(
        "name",
        None,
        Some("NAME"),
        "say NAME in replies, not the port",
    ),
    flag("plain", None, None, "reply with the argument alone"),
    flag("help", Some('h'), None, "this text"),
];

/// First line of the help.
pub const USAGE: &str = "meltemi-echo [options] ADDRESS:PORT...\n\n\
    Answers each call with its argument and '@PORT'; the format is seen from the first bytes.\n\
    On SIGTERM and SIGINT: prints the calls of each port as JSON and ends.";

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

/// What the backend does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens, and what replies from there end with.
    pub listen: Vec<(SocketAddr, String)>,
    /// Protocol by name.
    pub protocol: String,
    /// Time from a call to its reply.
    pub delay: Duration,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// A value that is not valid, or no address.
    pub fn read(arguments: &Arguments) -> Result<Self, UsageError> {
        let ports: u16 = arguments.number("ports", 1, 1, 1000)?;
        let suffix = |port: u16| match (arguments.has("plain"), arguments.text("name")) {
            (true, _) => String::new(),
            (false, Some(name)) => format!("@{name}"),
            (false, None) => format!("@{port}"),
        };
        let mut listen = Vec::new();
        for text in &arguments.positional {
            let first: SocketAddr = text
                .parse()
                .map_err(|_| UsageError(format!("{text}: want ADDRESS:PORT")))?;
            for offset in 0..ports {
                let port = first
                    .port()
                    .checked_add(offset)
                    .ok_or_else(|| UsageError(format!("{text}: no {ports} ports from there on")))?;
                listen.push((SocketAddr::new(first.ip(), port), suffix(port)));
            }
        }
        if listen.is_empty() {
            return Err(UsageError("no ADDRESS:PORT to listen on".to_owned()));
        }
        Ok(Self {
            listen,
            protocol: arguments.text("protocol").unwrap_or("thrift").to_owned(),
            delay: Duration::from_micros(arguments.number("delay", 0, 0, 60_000_000)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, UsageError> {
        let words = words.iter().map(|word| (*word).to_owned());
        Options::read(&Arguments::parse(FLAGS, words)?)
    }

    #[test]
    fn each_address_has_its_ports() {
        let options = read(&["127.0.0.1:9000", "127.0.0.2:9000", "-n", "2"]).unwrap();
        let names: Vec<_> = options
            .listen
            .iter()
            .map(|(a, s)| format!("{a}{s}"))
            .collect();
        let want = [
            "127.0.0.1:9000@9000",
            "127.0.0.1:9001@9001",
            "127.0.0.2:9000@9000",
            "127.0.0.2:9001@9001",
        ];
        assert_eq!(names, want);
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        assert!(read(&["127.0.0.1:65535", "-n", "2"]).is_err());
        assert!(read(&[]).is_err());
    }
}
