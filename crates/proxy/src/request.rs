//! Requests in flight: slots whose memory is used again, linked in the order of their replies and in
//! the order of their deadlines.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meltemi_balancer::Stands;
use meltemi_codec::{Frame, ReplyTo};

use crate::clock::Moment;
use crate::slots::Id;
use crate::stats::labels::Outcome;
use crate::view::View;

/// No neighbour in a list, no route, no cluster.
pub(crate) const NONE: u32 = u32::MAX;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A filter waits for an answer from elsewhere.
    Parked,
    /// The rest of its bytes has to come before it goes on.
    Collecting,
    /// It waits for a connection.
    Queued,
    /// Its bytes went to an upstream connection.
    Sent,
    /// The first bytes of its reply are there.
    Replying,
    /// Its reply is complete and waits for its turn.
    Replied,
}

/// A request that owns its bytes, to be sent later or again.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) frame: Frame,
    pub(crate) bytes: Vec<u8>,
    /// The filter that is asked next.
    pub(crate) filter: usize,
}

/// Endpoints that a request was tried at, by index; more are forgotten, and tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    indices: [usize; 8],
    count: usize,
}

impl Tried {
    pub(crate) fn push(&mut self, index: usize) {
        self.indices[self.count % 8] = index;
        self.count += 1;
    }

    pub(crate) fn all(&self) -> &[usize] {
        &self.indices[..self.count.min(8)]
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }
}

pub(crate) struct Request {
    pub(crate) generation: u32,
    pub(crate) live: bool,
    pub(crate) stage: Stage,
    pub(crate) oneway: bool,
    /// Frames go on in both directions after the first.
    pub(crate) stream: bool,
    /// The caller has closed its side of the stream.
    pub(crate) stream_closed: bool,
    /// It says that its reply may pass others.
    pub(crate) any_order: bool,
    /// A copy: its reply is dropped.
    pub(crate) copy: bool,
    /// The filter (its index) that wants the bytes kept after they were sent.
    pub(crate) keeper: Option<u8>,
    /// A cluster that gets a copy once the request is whole.
    pub(crate) copy_to: Option<Arc<str>>,
    /// It is counted among those that wait for a connection, among those that are tried again.
    pub(crate) pending: bool,
    pub(crate) retrying: bool,
    /// Its route changes attributes of it, of its reply.
    pub(crate) mutates: bool,
    pub(crate) mutates_reply: bool,
    /// Bytes of the request are still on their way from the caller.
    pub(crate) uploading: bool,
    /// Bytes of the reply went to the caller already.
    pub(crate) delivered: bool,
    pub(crate) view: Option<Rc<View>>,
    pub(crate) downstream: Id,
    pub(crate) upstream: Id,
    /// Its id on a multiplexed connection.
    pub(crate) wire: u64,
    /// Where its bytes start in all that was ever sent on the upstream connection, and how many.
    pub(crate) sent_at: u64,
    pub(crate) sent_len: usize,
    pub(crate) before: u32,
    pub(crate) behind: u32,
    timer_before: u32,
    timer_behind: u32,
    timed: bool,
    pub(crate) started: Moment,
    pub(crate) deadline: Moment,
    pub(crate) route: u32,
    pub(crate) cluster: u32,
    /// What an endpoint is chosen by, where its route says so.
    pub(crate) hash: Option<u64>,
    pub(crate) endpoint: Id,
    /// Of a lane's cluster: the endpoint that was picked, where it stands, and whether it leaks.
    pub(crate) standing: (Id, Stands, bool),
    pub(crate) tried: Tried,
    pub(crate) attempts: u32,
    pub(crate) reply_to: ReplyTo,
    /// Bytes of the request and of the reply.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Reply bytes that wait for their turn.
    pub(crate) held: Vec<u8>,
    pub(crate) kept: Option<Box<Kept>>,
    pub(crate) outcome: Outcome,
    /// Attributes that the access log wants.
    pub(crate) captured: Vec<Vec<u8>>,
    /// The same of the reply.
    pub(crate) captured_reply: Vec<Vec<u8>>,
}

impl Request {
    fn new() -> Self {
        Self {
            generation: 0,
            live: false,
            stage: Stage::Queued,
            oneway: false,
            stream: false,
            stream_closed: false,
            any_order: false,
            copy: false,
            pending: false,
            retrying: false,
            mutates: false,
            mutates_reply: false,
            keeper: None,
            copy_to: None,
            uploading: false,
            delivered: false,
            view: None,
            downstream: Id::NONE,
            upstream: Id::NONE,
            wire: 0,
            sent_at: 0,
            sent_len: 0,
            before: NONE,
            behind: NONE,
            timer_before: NONE,
            timer_behind: NONE,
            timed: false,
            started: Moment::default(),
            deadline: Moment::NEVER,
            route: NONE,
            cluster: NONE,
            hash: None,
            endpoint: Id::NONE,
            standing: (Id::NONE, Stands::Lane, false),
            tried: Tried::default(),
            attempts: 0,
            reply_to: ReplyTo::default(),
            received: 0,
            sent: 0,
            held: Vec::new(),
            kept: None,
            outcome: Outcome::Ok,
            captured: Vec::new(),
            captured_reply: Vec::new(),
        }
    }

    fn reuse(&mut self) {
        self.stage = Stage::Queued;
        self.oneway = false;
        self.stream = false;
        self.stream_closed = false;
        self.copy = false;
        self.mutates = false;
        self.mutates_reply = false;
        self.keeper = None;
        self.copy_to = None;
        self.uploading = false;
        self.delivered = false;
        self.downstream = Id::NONE;
        self.upstream = Id::NONE;
        self.wire = 0;
        self.before = NONE;
        self.behind = NONE;
        self.deadline = Moment::NEVER;
        self.route = NONE;
        self.cluster = NONE;
        self.hash = None;
        self.endpoint = Id::NONE;
        self.standing = (Id::NONE, Stands::Lane, false);
        self.tried = Tried::default();
        self.attempts = 0;
        self.received = 0;
        self.sent = 0;
        self.outcome = Outcome::Ok;
        self.captured_reply.iter_mut().for_each(Vec::clear);
    }
}

/// All requests of a worker.
pub(crate) struct Requests {
    entries: Vec<Request>,
    free: Vec<u32>,
    timeout: Duration,
    timer_first: u32,
    timer_last: u32,
}

impl Requests {
    pub(crate) const fn new(timeout: Duration) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            timeout,
            timer_first: NONE,
            timer_last: NONE,
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.entries.iter().filter(|request| request.live)
    }

    /// All requests in flight.
    pub(crate) fn ids(&self) -> Vec<Id> {
        let live = |(index, request): (usize, &Request)| {
            request.live.then_some(Id {
                index: index as u32,
                generation: request.generation,
            })
        };
        self.entries.iter().enumerate().filter_map(live).collect()
    }

    /// A slot for a new request, its deadline running.
    pub(crate) fn open(&mut self, view: Rc<View>, now: Moment) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Request::new());
            (self.entries.len() - 1) as u32
        });
        let request = &mut self.entries[index as usize];
        request.reuse();
        request.live = true;
        request.view = Some(view);
        request.started = now;
        let id = Id {
            index,
            generation: request.generation,
        };
        self.start_timer(id, now);
        id
    }

    /// Gives the slot back; its id names nothing from now on.
    pub(crate) fn close(&mut self, id: Id) {
        self.stop_timer(id);
        let request = &mut self.entries[id.index as usize];
        request.live = false;
        request.generation = (request.generation + 1) & 0x7fff_ffff;
        request.view = None;
        request.kept = None;
        self.free.push(id.index);
    }

    #[inline]
    pub(crate) fn get(&self, id: Id) -> Option<&Request> {
        let request = self.entries.get(id.index as usize)?;
        (request.live && request.generation == id.generation).then_some(request)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Request> {
        let request = self.entries.get_mut(id.index as usize)?;
        (request.live && request.generation == id.generation).then_some(request)
    }

    /// A neighbour in a list, which is alive as long as it is in the list.
    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> &mut Request {
        &mut self.entries[index as usize]
    }

    pub(crate) fn id_at(&self, index: u32) -> Id {
        match self.entries.get(index as usize) {
            Some(request) => Id {
                index,
                generation: request.generation,
            },
            None => Id::NONE,
        }
    }

    /// The first request of a list that replies have to wait for: streams are passed over.
    #[inline]
    pub(crate) fn first_in_line(&self, first: u32) -> u32 {
        let mut next = first;
        while let Some(request) = self.entries.get(next as usize)
            && request.stream
        {
            next = request.behind;
        }
        next
    }

    /// Starts the deadline anew; all requests wait equally long, so it goes to the end of the list.
    pub(crate) fn start_timer(&mut self, id: Id, now: Moment) {
        self.stop_timer(id);
        let last = self.timer_last;
        let deadline = now.after(self.timeout);
        let request = &mut self.entries[id.index as usize];
        request.timed = true;
        request.deadline = deadline;
        request.timer_before = last;
        request.timer_behind = NONE;
        match self.entries.get_mut(last as usize) {
            Some(last) => last.timer_behind = id.index,
            None => self.timer_first = id.index,
        }
        self.timer_last = id.index;
    }

    pub(crate) fn stop_timer(&mut self, id: Id) {
        let request = &mut self.entries[id.index as usize];
        if !request.timed {
            return;
        }
        request.timed = false;
        request.deadline = Moment::NEVER;
        let (before, behind) = (request.timer_before, request.timer_behind);
        match self.entries.get_mut(before as usize) {
            Some(before) => before.timer_behind = behind,
            None => self.timer_first = behind,
        }
        match self.entries.get_mut(behind as usize) {
            Some(behind) => behind.timer_before = before,
            None => self.timer_last = before,
        }
    }

    /// The next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        Some(self.entries.get(self.timer_first as usize)?.deadline)
    }

    /// A request whose deadline is over.
    pub(crate) fn due(&self, now: Moment) -> Option<Id> {
        let first = self.entries.get(self.timer_first as usize)?;
        let id = Id {
            index: self.timer_first,
            generation: first.generation,
        };
        (first.deadline <= now).then_some(id)
    }
}
