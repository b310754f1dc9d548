//! Colouring: at the edge, marks of strangers are taken away, and requests get marks of our own.
//!
//! First strip, then colour. The marks of a group go unless the caller is in its trusted networks
//! (`carriers` says where they travel); a trusted caller's own mark stays, and its group does not
//! colour. Else the first lane of the group one of whose entries holds gives its mark: a member
//! `KEY=LANE` behind all that is there. Conditions see what is left after stripping.
//!
//! Two groups may have one key: it is kept where both trust the caller, and the first of them that has
//! a lane for the request gives the mark. A mark that does not fit within the limits of W3C baggage is
//! not given. Nothing here knows sockets, clocks or Python; chance is an argument.
#![forbid(unsafe_code)]

mod carriers;
mod changes;
mod entries;
mod network;
mod plan;

pub use changes::Changes;
pub use entries::{Condition, Entry, Share, ShareBy, Test};
pub use network::Network;
pub use plan::{Group, Lane, Plan, Request};
