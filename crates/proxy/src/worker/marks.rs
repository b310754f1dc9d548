//! Marks of lanes that must not go on.
//!
//! Of a caller who may not set them they are taken out before anything else looks at the request, so
//! that filters, routes and copies see what the upstream sees (`requests`). On the way out of the mesh
//! they are taken out last, so that routes of the mesh still go by them (`dispatch`). Either way the request
//! becomes the one that it would have been without them. Where they cannot be taken out it is answered with
//! an error: a rule about a lane may fail to hold, but who may set a mark must not.

use std::rc::Rc;
use std::sync::Arc;

use meltemi_codec::{
    Direction, Edit, ErrorKind, Format, Found, Frame, Limits, Protocol, Scrub, Scrubbed,
};
use meltemi_resources::Marks;
use meltemi_routing::Unmarked;

use super::Worker;
use crate::slots::Id;
use crate::view::View;

const UNREADABLE: &str = "it has attributes that cannot be read here (its serialization, \
     transform or a block of its header is not known)";
const FIXED: &str = "its head cannot be written anew (a checksum or a transform covers it)";

/// A request as it would have come without marks.
pub(super) struct Plain {
    pub(super) frame: Frame,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
struct Without<'m>(&'m Marks);

impl Scrub for Without<'_> {
    fn scrub(&self, name: &[u8], value: Option<&[u8]>) -> Scrubbed {
        match self.0.unmarked(name, value) {
            Unmarked::Same => Scrubbed::Same,
            Unmarked::Less(rest) => Scrubbed::Less(rest),
            Unmarked::Gone => Scrubbed::Gone,
        }
    }
}

impl Worker {
    /// The request without the marks that its caller may not set; None where it has none of them.
    ///
    /// # Errors
    /// Why it must not go on: what the caller is told.
    pub(super) fn without_denied_marks(
        &mut self,
        id: Id,
        frame: &Frame,
        bytes: &[u8],
    ) -> Option<Result<Plain, String>> {
        let view = self.view_of(id)?;
        let denied = self.denied(id, &view)?;
        let limits = self.codec_limits();
        let protocol = Arc::clone(&self.connections.get_mut(id)?.downstream()?.protocol);
        let made = without(&*protocol, frame, bytes, &denied, limits).transpose()?;
        let made = made.map_err(|why| {
            let keys = keys(&denied);
            format!("the caller may not set marks of lanes ({keys}), and this request may: {why}")
        });
        self.count_marks(&view, made.is_ok());
        Some(made)
    }

    /// Sends a request out of the mesh, where `marks` mean nothing and nobody is to see them.
    pub(super) fn attempt_unmarked(
        &mut self,
        id: Id,
        frame: &Frame,
        bytes: &[u8],
        marks: &Arc<Marks>,
    ) {
        let view = self.requests.get(id).and_then(|one| one.view.clone());
        let Some((view, protocol)) = view
            .as_ref()
            .and_then(|view| Some((view, view.protocol()?)))
        else {
            return;
        };
        match without(&**protocol, frame, bytes, marks, self.codec_limits()) {
            Ok(None) => self.attempt_as(id, frame, bytes, true),
            Ok(Some(plain)) => {
                self.count_marks(view, true);
                self.attempt_as(id, &plain.frame, &plain.bytes, true);
            }
            Err(why) => {
                self.count_marks(view, false);
                let keys = keys(marks);
                let message = format!(
                    "marks of lanes ({keys}) stay in the mesh, and this request may hold \
                             one: {why}"
                );
                self.fail(id, ErrorKind::Denied, &message);
            }
        }
    }

    fn view_of(&mut self, id: Id) -> Option<Rc<View>> {
        let listener = self.connections.get_mut(id)?.downstream()?.listener;
        let port = self.ports.get(listener as usize)?.as_ref()?;
        Some(Rc::clone(&port.view))
    }

    /// The marks that a caller may not set. Found out when its connection first asks, and again after the
    /// tables changed.
    fn denied(&mut self, id: Id, view: &View) -> Option<Rc<Marks>> {
        let rules = view.marks.as_ref()?;
        let down = self.connections.get_mut(id)?.downstream()?;
        if down.denied_version != self.tables.version {
            down.denied_version = self.tables.version;
            let address = down.remote.ip().to_canonical();
            let workload = self.tables.snapshot.peers.get(&address);
            down.denied = rules
                .denied(address, workload.map(|peer| &**peer))
                .map(Rc::new);
        }
        down.denied.clone()
    }

    fn count_marks(&mut self, view: &View, removed: bool) {
        if let Some(port) = self.port(view.number) {
            if removed {
                port.requests.request_marks_removed += 1;
            } else {
                port.requests.request_marks_refused += 1;
            }
        }
    }
}

fn keys(marks: &Marks) -> String {
    marks.keys().collect::<Vec<_>>().join(", ")
}

/// The request without `marks`; None where it has none.
fn without(
    protocol: &dyn Protocol,
    frame: &Frame,
    bytes: &[u8],
    marks: &Marks,
    limits: Limits,
) -> Result<Option<Plain>, &'static str> {
    let scrub = Without(marks);
    match protocol.find(frame, bytes, &scrub) {
        Found::Nothing => return Ok(None),
        Found::Unknown => return Err(UNREADABLE),
        Found::Something => {}
    }
    if !frame.rewritable || bytes.len() < protocol.edit_needs(frame) {
        return Err(FIXED);
    }
    let edit = Edit {
        scrub: Some(&scrub),
        ..Edit::default()
    };
    let mut out = Vec::with_capacity(bytes.len());
    if !protocol.encode(frame, bytes, &edit, &mut out) {
        return Err(FIXED);
    }
    // Read again: places in the head moved, and what goes on is what was looked at.
    let mut decoder = protocol.decoder(Direction::Request, Format::DETECT, limits);
    let Ok(Some(made)) = decoder.decode(&out) else {
        return Err(FIXED);
    };
    let same_rest = made.len.checked_sub(out.len()) == frame.len.checked_sub(bytes.len());
    if !same_rest || protocol.find(&made, &out, &scrub) != Found::Nothing {
        return Err(FIXED);
    }
    Ok(Some(Plain {
        frame: made,
        bytes: out,
    }))
}
