//! CloudWeGo's header: numbers of fixed size, three kinds of info block, any other is an error.
//!
//! Source: cloudwego/gopkg `protocol/ttheader`, cloudwego/kitex `pkg/remote/codec/header_codec.go`.
//! A text key is an attribute by its own name. An integer key is one by its decimal number and by its
//! name in Kitex (`pkg/remote/transmeta/metakey.go`): `ToService` is read as `toservice`, `to_service` or
//! `to-service`. The ACL token is the text key that Kitex makes of it. Where a name comes twice, the
//! later value holds, as in Kitex; a text key wins over an integer key of its name.

use super::header::{MAX_TRANSFORMS, PRELUDE_BYTES, Start};
use super::wire::{invalid, u16_at};
use super::{Change, edit};
use crate::{DecodeError, Edit, Scrubbed};

const PADDING: u8 = 0x00;
const TEXT_KEYS: u8 = 0x01;
const NUMBER_KEYS: u8 = 0x10;
const TOKEN: u8 = 0x11;

/// The text key that Kitex reads the ACL token as.
const TOKEN_NAME: &[u8] = b"RPC_TRANSIT_gdpr-token";

/// The integer keys of Kitex, by their number.
const NUMBER_NAMES: [&str; 28] = [
    "MeshVersion",
    "TransportType",
    "LogID",
    "FromService",
    "FromCluster",
    "FromIDC",
    "ToService",
    "ToCluster",
    "ToIDC",
    "ToMethod",
    "Env",
    "DestAddress",
    "RPCTimeout",
    "ReadTimeout",
    "RingHashKey",
    "DDPTag",
    "WithMeshHeader",
    "ConnectTimeout",
    "SpanContext",
    "ShortConnection",
    "FromMethod",
    "StressTag",
    "MsgType",
    "HTTPContentType",
    "RawRingHashKey",
    "LBType",
    "ClusterShardID",
    "FrameType",
];
/// The method that is called, for a payload that cannot be read.
pub(super) const TO_METHOD: u16 = 9;
/// What the message is: "1" a call, "2" a reply, "3" an exception.
pub(super) const MSG_TYPE: u16 = 22;

const CUT: &str = "a header that ends inside a value";

/// What stands in an info block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'h> {
    /// A block starts: of [`TEXT_KEYS`] or [`NUMBER_KEYS`].
    Block(u8),
    Text(&'h [u8], &'h [u8]),
    Number(u16, &'h [u8]),
    Token(&'h [u8]),
}

/// Reads protocol id and transforms; `head` are the bytes up to the payload.
pub(super) fn start(head: &[u8]) -> Result<Start, DecodeError> {
    let [protocol, transforms] = *head[PRELUDE_BYTES..]
        .first_chunk()
        .ok_or(invalid(PRELUDE_BYTES, CUT))?;
    let compact = match protocol {
        0 => false,
        2 | 3 => true,
        _ => {
            return Err(invalid(
                PRELUDE_BYTES,
                "a TTHeader protocol that is not Thrift",
            ));
        }
    };
    let info = PRELUDE_BYTES + 2 + usize::from(transforms);
    if usize::from(transforms) > MAX_TRANSFORMS || info > head.len() {
        return Err(invalid(PRELUDE_BYTES + 1, "too many transforms"));
    }
    Ok(Start {
        compact,
        transformed: transforms > 0,
        info,
    })
}

/// Reads the header once, so that later readers need not fail. Whether a checksum covers the payload.
pub(super) fn check(head: &[u8], info: usize) -> Result<bool, DecodeError> {
    let mut checksum = false;
    walk(head, info, |item| {
        if let Item::Text(name, _) = item {
            checksum |= says_checksum(name);
        }
    })?;
    Ok(checksum)
}

/// Whether a header of this name makes its reader check the payload against it.
fn says_checksum(name: &[u8]) -> bool {
    name == b"crc32c" || name.starts_with(b"PV_")
}

/// Visits what is in the info blocks.
pub(super) fn walk<'h>(
    head: &'h [u8],
    info: usize,
    mut visit: impl FnMut(Item<'h>),
) -> Result<(), DecodeError> {
    let mut at = info;
    while let Some(&block) = head.get(at) {
        at = match block {
            PADDING => at + 1,
            TEXT_KEYS | NUMBER_KEYS => {
                visit(Item::Block(block));
                pairs(head, at, block, &mut visit)?
            }
            TOKEN => {
                let (token, end) = text(head, at + 1)?;
                visit(Item::Token(token));
                end
            }
            _ => return Err(invalid(at, "an info block that TTHeader does not have")),
        };
    }
    Ok(())
}

fn pairs<'h>(
    head: &'h [u8],
    at: usize,
    block: u8,
    visit: &mut impl FnMut(Item<'h>),
) -> Result<usize, DecodeError> {
    let mut pair = at + 3;
    for _ in 0..u16_at(head, at + 1).ok_or(invalid(at, CUT))? {
        if block == TEXT_KEYS {
            let (name, value_at) = text(head, pair)?;
            let (value, end) = text(head, value_at)?;
            visit(Item::Text(name, value));
            pair = end;
        } else {
            let key = u16_at(head, pair).ok_or(invalid(pair, CUT))?;
            let (value, end) = text(head, pair + 2)?;
            visit(Item::Number(key, value));
            pair = end;
        }
    }
    Ok(pair)
}

fn text(head: &[u8], at: usize) -> Result<(&[u8], usize), DecodeError> {
    let len = u16_at(head, at).ok_or(invalid(at, CUT))?;
    let end = at + 2 + usize::from(len);
    head.get(at + 2..end)
        .map(|text| (text, end))
        .ok_or(invalid(at, CUT))
}

/// The value of the attribute `name`, whose case does not matter.
pub(super) fn find<'h>(head: &'h [u8], info: usize, name: &str) -> Option<&'h [u8]> {
    let number = number_key(name);
    let (mut by_text, mut by_number) = (None, None);
    let _ = walk(head, info, |item| match item {
        Item::Text(key, value) if key.eq_ignore_ascii_case(name.as_bytes()) => {
            by_text = Some(value)
        }
        Item::Token(value) if TOKEN_NAME.eq_ignore_ascii_case(name.as_bytes()) => {
            by_text = Some(value)
        }
        Item::Number(key, value) if number == Some(key) => by_number = Some(value),
        _ => {}
    });
    by_text.or(by_number)
}

/// Visits every name and value; integer keys by their name in Kitex, where they have one.
pub(super) fn visit_all(head: &[u8], info: usize, visit: &mut dyn FnMut(&[u8], &[u8])) {
    let _ = walk(head, info, |item| match item {
        Item::Block(_) => {}
        Item::Text(name, value) => visit(name, value),
        Item::Token(value) => visit(TOKEN_NAME, value),
        Item::Number(key, value) => match NUMBER_NAMES.get(usize::from(key)) {
            Some(name) => visit(name.as_bytes(), value),
            None => visit(key.to_string().as_bytes(), value),
        },
    });
}

/// Visits every name that is text, with its value: what an edit can scrub.
pub(super) fn visit_texts(head: &[u8], info: usize, visit: &mut dyn FnMut(&[u8], &[u8])) {
    let _ = walk(head, info, |item| {
        if let Item::Text(name, value) = item {
            visit(name, value);
        }
    });
}

/// The integer key that `name` means: its number, or its name in Kitex without case, `_` and `-`.
fn number_key(name: &str) -> Option<u16> {
    let first = *name.as_bytes().first()?;
    if first.is_ascii_digit() {
        return name.parse().ok();
    }
    let same = |known: &&str| {
        let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
        known.as_bytes()[0].eq_ignore_ascii_case(&first)
            && letters
                .map(|byte| byte.to_ascii_lowercase())
                .eq(known.bytes().map(|byte| byte.to_ascii_lowercase()))
    };
    NUMBER_NAMES.iter().position(same).map(|key| key as u16)
}

/// Appends the info blocks of `head` with the changes of `edit`; blocks keep their order.
/// Names and values have to be of a size that [`fits`].
pub(super) fn put_edited(head: &[u8], info: usize, edit: &Edit<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer {
        out,
        count_at: 0,
        count: 0,
    };
    let _ = walk(head, info, |item| match item {
        Item::Block(block) => {
            writer.close();
            writer.open(block);
        }
        Item::Text(name, value) => match edit::change(edit, name) {
            Change::Keep => match edit::scrubbed(edit, name, value) {
                Scrubbed::Same => writer.text(name, value),
                Scrubbed::Less(rest) => writer.text(name, &rest),
                Scrubbed::Gone => {}
            },
            Change::Drop => {}
            Change::Set(value) => writer.text(name, value.as_bytes()),
        },
        Item::Number(key, value) => match number_change(head, info, edit, key) {
            Change::Keep => writer.number(key, value),
            Change::Drop => {}
            Change::Set(value) => writer.number(key, value.as_bytes()),
        },
        Item::Token(value) => {
            writer.close();
            match edit::change(edit, TOKEN_NAME) {
                Change::Keep => writer.token(value),
                Change::Drop => {}
                Change::Set(value) => writer.token(value.as_bytes()),
            }
        }
    });
    writer.close();
    for (block, wants_number) in [(TEXT_KEYS, false), (NUMBER_KEYS, true)] {
        writer.open(block);
        for (name, value) in edit
            .settings()
            .filter(|(name, _)| find(head, info, name).is_none())
        {
            match number_key(name) {
                Some(key) if wants_number => writer.number(key, value.as_bytes()),
                None if !wants_number => writer.text(name.as_bytes(), value.as_bytes()),
                _ => {}
            }
        }
        writer.close();
    }
}

/// Whether TTHeader has a place for the names and values of an edit: 65,535 bytes each. It has none for
/// the name of a checksum: whoever reads the frame would refuse it.
pub(super) fn fits(edit: &Edit<'_>) -> bool {
    let most = usize::from(u16::MAX);
    edit.set.iter().all(|(name, value)| {
        name.len() <= most && value.len() <= most && !says_checksum(name.as_bytes())
    })
}

/// What happens to the integer key: a text key of its name takes what is set, and leaves it alone.
fn number_change<'e>(head: &[u8], info: usize, edit: &Edit<'e>, key: u16) -> Change<'e> {
    let named = |name: &&str| number_key(name) == Some(key);
    if let Some((name, value)) = edit.set.iter().rev().find(|(name, _)| named(name)) {
        let mut is_text = false;
        let _ = walk(head, info, |item| {
            is_text |=
                matches!(item, Item::Text(key, _) if key.eq_ignore_ascii_case(name.as_bytes()));
        });
        return if is_text {
            Change::Keep
        } else {
            Change::Set(value)
        };
    }
    if edit.remove.iter().any(named) {
        Change::Drop
    } else {
        Change::Keep
    }
}

/// Writes blocks, each with the count of what came into it; an empty one is left out.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    count_at: usize,
    count: u16,
}

impl Writer<'_> {
    fn open(&mut self, block: u8) {
        self.out.extend_from_slice(&[block, 0, 0]);
        self.count_at = self.out.len() - 2;
        self.count = 0;
    }

    fn close(&mut self) {
        if self.count_at == 0 {
            return;
        }
        if self.count == 0 {
            self.out.truncate(self.count_at - 1);
        } else {
            self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_be_bytes());
        }
        self.count_at = 0;
    }

    fn text(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u16::try_from(value.len()))
        else {
            return;
        };
        self.out.extend_from_slice(&name_len.to_be_bytes());
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(&value_len.to_be_bytes());
        self.out.extend_from_slice(value);
        self.count += 1;
    }

    fn number(&mut self, key: u16, value: &[u8]) {
        let Ok(value_len) = u16::try_from(value.len()) else {
            return;
        };
        self.out.extend_from_slice(&key.to_be_bytes());
        self.out.extend_from_slice(&value_len.to_be_bytes());
        self.out.extend_from_slice(value);
        self.count += 1;
    }

    fn token(&mut self, value: &[u8]) {
        let Ok(len) = u16::try_from(value.len()) else {
            return;
        };
        self.out.push(TOKEN);
        self.out.extend_from_slice(&len.to_be_bytes());
        self.out.extend_from_slice(value);
    }
}

/// Appends the one block that a reply needs: `key` with `value`.
pub(super) fn put_number(key: u16, value: &[u8], out: &mut Vec<u8>) {
    let mut writer = Writer {
        out,
        count_at: 0,
        count: 0,
    };
    writer.open(NUMBER_KEYS);
    writer.number(key, value);
    writer.close();
}

/// The value of an integer key.
pub(super) fn number(head: &[u8], info: usize, wanted: u16) -> Option<&[u8]> {
    let mut found = None;
    let _ = walk(head, info, |item| match item {
        Item::Number(key, value) if key == wanted => found = Some(value),
        _ => {}
    });
    found
}
