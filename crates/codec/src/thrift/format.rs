//! How a Thrift connection writes its messages, packed into a [`Format`].

use crate::Format;

/// What stands around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// A length in front.
    Framed,
    /// Nothing: the end is found by a skip over the fields.
    Unframed,
    /// Apache's header transport, magic 0x0FFF.
    THeader,
    /// The same around a message with a length of its own.
    THeaderFramed,
    /// CloudWeGo's header transport, magic 0x1000.
    TTHeader,
    /// The same around a message with a length of its own.
    TTHeaderFramed,
}

/// How the message itself is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Binary with the version word.
    Strict,
    /// Binary as it was before the version word.
    Lax,
    /// Compact.
    Compact,
}

const TRANSPORTS: [Transport; 6] = [
    Transport::Framed,
    Transport::Unframed,
    Transport::THeader,
    Transport::THeaderFramed,
    Transport::TTHeader,
    Transport::TTHeaderFramed,
];
const ENCODINGS: [Encoding; 3] = [Encoding::Strict, Encoding::Lax, Encoding::Compact];

impl Encoding {
    /// Whether a reader of binary messages reads it: all of them take both forms.
    pub(super) const fn is_binary(self) -> bool {
        !matches!(self, Self::Compact)
    }

    /// The name in logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Lax => "lax",
            Self::Compact => "compact",
        }
    }
}

impl Transport {
    /// The name in logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Framed => "framed",
            Self::Unframed => "unframed",
            Self::THeader => "theader",
            Self::THeaderFramed => "theaderframed",
            Self::TTHeader => "ttheader",
            Self::TTHeaderFramed => "ttheaderframed",
        }
    }

    /// Whether frames have a header with names and values, and a second id.
    pub(super) const fn has_header(self) -> bool {
        !matches!(self, Self::Framed | Self::Unframed)
    }

    /// Whether the header is CloudWeGo's.
    pub(super) const fn is_ttheader(self) -> bool {
        matches!(self, Self::TTHeader | Self::TTHeaderFramed)
    }

    /// Whether the payload behind the header starts with a length.
    pub(super) const fn has_inner_length(self) -> bool {
        matches!(self, Self::THeaderFramed | Self::TTHeaderFramed)
    }
}

/// Packs both into the number that the proxy keys its pools with; never [`Format::DETECT`].
pub(super) const fn pack(transport: Transport, encoding: Encoding) -> Format {
    Format((transport as u16 + 1) << 8 | encoding as u16)
}

/// What [`pack`] packed; None for [`Format::DETECT`] and for numbers of other codecs.
pub(super) fn unpack(format: Format) -> Option<(Transport, Encoding)> {
    let transport = TRANSPORTS.get(usize::from(format.0 >> 8).checked_sub(1)?)?;
    let encoding = ENCODINGS.get(usize::from(format.0 & 0xff))?;
    Some((*transport, *encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_a_number_of_its_own_and_none_is_detect() {
        let mut seen = std::collections::HashSet::new();
        for transport in TRANSPORTS {
            for encoding in ENCODINGS {
                let format = pack(transport, encoding);
                assert_ne!(format, Format::DETECT);
                assert!(seen.insert(format));
                assert_eq!(unpack(format), Some((transport, encoding)));
            }
        }
        assert_eq!(unpack(Format::DETECT), None);
        assert_eq!(unpack(Format(0xffff)), None);
    }
}
