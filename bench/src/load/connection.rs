//! One connection of the load generator: its requests in flight, what is still to send, and what came.

use std::os::fd::OwnedFd;

use meltemi_codec::{Decoder, Frame, Kind};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::plan::{Asked, Plan};
use super::tally::Fault;
use crate::socket::now_ns;

/// Room for one read of a frame that comes in pieces.
const PIECE_BYTES: usize = 64 << 10;

/// A connection and the requests in flight on it.
pub struct Connection {
    /// The socket.
    pub socket: OwnedFd,
    /// Whether the kernel took less than was to send.
    pub blocked: bool,
    /// Whether it is of no more use.
    pub dead: bool,
    decoder: Box<dyn Decoder>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    max_id: u64,
    output: Vec<u8>,
    sent: usize,
    /// A frame that has not come whole: its bytes, and its head if that was read.
    input: Vec<u8>,
    head: Option<Frame>,
}

struct Slot {
    /// 0 while no request is in flight here.
    id: u64,
    next_id: u64,
    asked: Asked,
}

impl Connection {
    /// A connection that keeps up to `in_flight` requests in flight.
    #[must_use]
    pub fn new(socket: OwnedFd, plan: &Plan, in_flight: u32) -> Self {
        let slot = |place| Slot {
            id: 0,
            next_id: u64::from(place) + 1,
            asked: Asked {
                started_ns: 0,
                number: 0,
            },
        };
        Self {
            socket,
            blocked: false,
            dead: false,
            decoder: plan.decoder(),
            slots: (0..in_flight).map(slot).collect(),
            free: (0..in_flight).rev().collect(),
            max_id: plan.max_id(),
            output: Vec::new(),
            sent: 0,
            input: Vec::new(),
            head: None,
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether one more request may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() && !self.dead
    }

    /// Puts one request into the output, whose time counts from `started_ns`. Wants room.
    pub fn ask(&mut self, plan: &mut Plan, started_ns: u64) {
        let Some(place) = self.free.pop() else { return };
        let places = self.slots.len() as u64;
        let slot = &mut self.slots[place as usize];
        slot.id = slot.next_id;
        slot.next_id += places;
        if slot.next_id > self.max_id {
            slot.next_id = u64::from(place) + 1;
        }
        let number = plan.request(slot.id, &mut self.output);
        slot.asked = Asked { started_ns, number };
    }

    /// Sends what the kernel takes.
    pub fn flush(&mut self, plan: &mut Plan) {
        while self.sent < self.output.len() && !self.dead {
            match send(&self.socket, &self.output[self.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return;
                }
                Err(Errno::INTR) => {}
                Err(error) => self.lose(plan, &error.to_string()),
            }
        }
        self.output.clear();
        self.sent = 0;
        self.blocked = false;
    }

    /// Reads once; judges the replies that are whole; where `refill`, asks again for each.
    pub fn receive(&mut self, plan: &mut Plan, scratch: &mut Vec<u8>, refill: bool) {
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
            Ok((_, 0)) => return self.lose(plan, "the peer closed the connection"),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => {
                self.input = own;
                return;
            }
            Err(error) => return self.lose(plan, &error.to_string()),
        }
        let rest = self.replies(plan, bytes, refill);
        if rest < bytes.len() {
            self.input = bytes.split_off(rest);
        }
    }

    /// Judges the whole replies at the front of `bytes`; returns where the first that is not whole starts.
    fn replies(&mut self, plan: &mut Plan, bytes: &[u8], refill: bool) -> usize {
        let now = now_ns();
        let mut at = 0;
        while at < bytes.len() && !self.dead {
            let head = match self.head.take() {
                Some(head) => Ok(Some(head)),
                None => self.decoder.decode(&bytes[at..]),
            };
            match head {
                Ok(Some(head)) if bytes.len() - at >= head.len => {
                    self.reply(plan, &head, &bytes[at..at + head.len], now, refill);
                    at += head.len;
                }
                Ok(Some(head)) => {
                    self.head = Some(head);
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    plan.tally
                        .fault(Fault::Undecodable, 1, || error.to_string());
                    self.lose(plan, "its bytes are no frames");
                }
            }
        }
        at
    }

    fn reply(&mut self, plan: &mut Plan, head: &Frame, bytes: &[u8], now: u64, refill: bool) {
        let id = head.ids.message;
        let place = (id.wrapping_sub(1) % self.slots.len() as u64) as usize;
        let slot = &mut self.slots[place];
        if head.kind != Kind::Response || id == 0 || slot.id != id {
            let found = format!("{:?} with id {id}", head.kind);
            return plan.tally.fault(Fault::UnknownId, 1, || found);
        }
        slot.id = 0;
        let asked = slot.asked;
        self.free.push(place as u32);
        plan.judge(asked, bytes, now);
        if refill && plan.left > 0 {
            self.ask(plan, now);
        }
    }

    fn lose(&mut self, plan: &mut Plan, why: &str) {
        if self.dead {
            return;
        }
        self.dead = true;
        let lost = self.in_flight() as u64;
        if lost == 0 {
            plan.tally
                .fault(Fault::ConnectionClosed, 1, || why.to_owned());
        }
        plan.tally
            .fault(Fault::ConnectionLost, lost, || why.to_owned());
    }
}
