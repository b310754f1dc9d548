//! One connection of the backend.

use std::os::fd::OwnedFd;

use meltemi_codec::{Decoder, Frame, Kind};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::dialect::{Dialect, Spoken};

const PIECE_BYTES: usize = 64 << 10;

/// A connection of the backend.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Which of the listening addresses it came in on.
    pub(super) listener: usize,
    /// Whether the kernel took less than was to send.
    pub(super) blocked: bool,
    decoder: Box<dyn Decoder>,
    /// Known from the first frame on.
    dialect: Option<Box<dyn Dialect>>,
    input: Vec<u8>,
    head: Option<Frame>,
    output: Vec<u8>,
    sent: usize,
}

/// The connection is of no more use.
pub(super) struct Ended;

impl Connection {
    pub(super) fn new(socket: OwnedFd, listener: usize, decoder: Box<dyn Decoder>) -> Self {
        Self {
            socket,
            listener,
            blocked: false,
            decoder,
            dialect: None,
            input: Vec::new(),
            head: None,
            output: Vec::new(),
            sent: 0,
        }
    }

    /// Reads once and appends the replies to what is whole to `replies`; returns the number of calls.
    pub(super) fn receive(
        &mut self,
        spoken: &Spoken,
        suffix: &[u8],
        scratch: &mut Vec<u8>,
        replies: &mut Vec<u8>,
    ) -> Result<u64, Ended> {
        let mut own = std::mem::take(&mut self.input);
        let bytes = if own.is_empty() {
            scratch.clear();
            scratch
        } else {
            let whole = self.head.as_ref().map_or(0, |head| head.len);
            own.reserve(whole.saturating_sub(own.len()).max(PIECE_BYTES));
            &mut own
        };
        match recv(&self.socket, spare_capacity(bytes), RecvFlags::empty()) {
            Ok((_, count)) if count > 0 => {}
            Err(Errno::AGAIN | Errno::INTR) => {
                self.input = own;
                return Ok(0);
            }
            Ok(_) | Err(_) => return Err(Ended),
        }
        let (calls, rest) = self.answer(spoken, suffix, bytes, replies)?;
        if rest < bytes.len() {
            self.input = bytes.split_off(rest);
        }
        Ok(calls)
    }

    fn answer(
        &mut self,
        spoken: &Spoken,
        suffix: &[u8],
        bytes: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<(u64, usize), Ended> {
        let (mut at, mut calls) = (0, 0);
        while at < bytes.len() {
            let head = match self.head.take() {
                Some(head) => Some(head),
                None => self.decoder.decode(&bytes[at..]).map_err(|_| Ended)?,
            };
            let Some(head) = head else { break };
            let Some(frame) = bytes.get(at..at + head.len) else {
                self.head = Some(head);
                break;
            };
            match head.kind {
                Kind::Request => {
                    if self.dialect.is_none() {
                        self.dialect = spoken.detect(frame);
                    }
                    let dialect = self.dialect.as_deref().ok_or(Ended)?;
                    let call = dialect.call(frame).ok_or(Ended)?;
                    dialect.reply(frame, [call.argument, suffix], replies);
                    calls += 1;
                }
                Kind::Oneway => calls += 1,
                Kind::Heartbeat => spoken.protocol.heartbeat_reply(&head, frame, replies),
                _ => return Err(Ended),
            }
            at += head.len;
        }
        Ok((calls, at))
    }

    /// Sends `replies` behind what is still to send, as far as the kernel takes it.
    pub(super) fn send(&mut self, replies: &[u8]) -> Result<(), Ended> {
        if self.output.is_empty() {
            let sent = self.push(replies)?;
            self.output.extend_from_slice(&replies[sent..]);
        } else {
            self.output.extend_from_slice(replies);
        }
        self.blocked = !self.output.is_empty();
        Ok(())
    }

    /// Sends what is still to send.
    pub(super) fn flush(&mut self) -> Result<(), Ended> {
        let sent = self.push(&self.output[self.sent..])?;
        self.sent += sent;
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        self.blocked = !self.output.is_empty();
        Ok(())
    }

    fn push(&self, bytes: &[u8]) -> Result<usize, Ended> {
        let mut sent = 0;
        while sent < bytes.len() {
            match send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(Ended),
            }
        }
        Ok(sent)
    }
}
