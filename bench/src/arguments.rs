//! Command line of the two tools: flags with a long and a short name, and positional words.

use std::fmt;
use std::str::FromStr;

/// One flag that a tool knows.
pub struct Flag {
    /// `--long`.
    pub long: &'static str,
    /// `-s`.
    pub short: Option<char>,
    /// Name of its value in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// What stood on the command line.
pub struct Arguments {
    given: Vec<(&'static str, String)>,
    /// Words that belong to no flag, in order.
    pub positional: Vec<String>,
}

/// The command line is not what the tool takes.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl Arguments {
    /// Reads `words` (without the program's name) by the `flags` that are known.
    ///
    /// # Errors
    /// A flag that is not known, or that lacks its value.
    pub fn parse(
        flags: &'static [Flag],
        words: impl IntoIterator<Item = String>,
    ) -> Result<Self, UsageError> {
        let mut arguments = Self {
            given: Vec::new(),
            positional: Vec::new(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !name.starts_with('-') || name == "-" {
                arguments.positional.push(word);
                continue;
            }
            let flag = flags
                .iter()
                .find(|flag| flag.is(name))
                .ok_or_else(|| UsageError(format!("{name} is no option of this command")))?;
            let value = match (flag.value, inline) {
                (None, None) => String::new(),
                (None, Some(_)) => return Err(UsageError(format!("{name} takes no value"))),
                (Some(_), Some(value)) => value,
                (Some(what), None) => words
                    .next()
                    .ok_or_else(|| UsageError(format!("{name} wants a value ({what})")))?,
            };
            arguments.given.push((flag.long, value));
        }
        Ok(arguments)
    }

    /// Whether the flag was given.
    #[must_use]
    pub fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == long)
    }

    /// The last value of a flag.
    #[must_use]
    pub fn text(&self, long: &str) -> Option<&str> {
        self.given
            .iter()
            .rev()
            .find(|(name, _)| *name == long)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a flag as a `T` between `least` and `most`, or `default` where it was not given.
    ///
    /// # Errors
    /// The value is no `T`, or out of range.
    pub fn number<T>(&self, long: &str, default: T, least: T, most: T) -> Result<T, UsageError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let Some(text) = self.text(long) else {
            return Ok(default);
        };
        match text.parse::<T>() {
            Ok(value) if value >= least && value <= most => Ok(value),
            _ => Err(UsageError(format!(
                "--{long} {text}: want a number from {least} to {most}"
            ))),
        }
    }

    /// Every value of a flag that may be given more than once.
    ///
    /// # Errors
    /// One of them is no `T`.
    pub fn all<T: FromStr>(&self, long: &str) -> Result<Vec<T>, UsageError> {
        self.given
            .iter()
            .filter(|(name, _)| *name == long)
            .map(|(_, text)| {
                text.parse()
                    .map_err(|_| UsageError(format!("--{long} {text}: not a valid value")))
            })
            .collect()
    }
}

impl Flag {
    fn is(&self, word: &str) -> bool {
        match word.strip_prefix("--") {
            Some(long) => long == self.long,
            None => word.strip_prefix('-').is_some_and(|short| {
                self.short
                    .is_some_and(|own| short.chars().eq(std::iter::once(own)))
            }),
        }
    }
}

/// The help text: a line for each flag.
#[must_use]
pub fn help(usage: &str, flags: &[Flag]) -> String {
    let mut text = format!("{usage}\n\n");
    for flag in flags {
        let short = flag
            .short
            .map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
        let name = format!("{short}--{} {}", flag.long, flag.value.unwrap_or_default());
        text.push_str(&format!("  {name:<28} {}\n", flag.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag {
            long: "connections",
            short: Some('c'),
            value: Some("N"),
            help: "",
        },
        Flag {
            long: "expect-errors",
            short: None,
            value: None,
            help: "",
        },
    ];

    fn parse(words: &[&str]) -> Result<Arguments, UsageError> {
        Arguments::parse(FLAGS, words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn long_short_and_inline_values_mean_the_same() {
        for words in [
            &["-c", "7"][..],
            &["--connections", "7"],
            &["--connections=7"],
        ] {
            assert_eq!(
                parse(words)
                    .unwrap()
                    .number("connections", 1, 1, 9)
                    .unwrap(),
                7
            );
        }
    }

    #[test]
    fn unknown_flags_missing_values_and_numbers_out_of_range_are_errors() {
        assert!(parse(&["-z"]).is_err());
        assert!(parse(&["-c"]).is_err());
        assert!(parse(&["--expect-errors=1"]).is_err());
        assert!(
            parse(&["-c", "10"])
                .unwrap()
                .number("connections", 1, 1, 9)
                .is_err()
        );
        assert!(
            parse(&["-c", "x"])
                .unwrap()
                .number("connections", 1, 1, 9)
                .is_err()
        );
    }

    #[test]
    fn what_is_no_flag_is_positional() {
        let arguments = parse(&["127.0.0.1:9000", "--expect-errors"]).unwrap();
        assert_eq!(arguments.positional, ["127.0.0.1:9000"]);
        assert!(arguments.has("expect-errors"));
    }
}
