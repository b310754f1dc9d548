//! The other side of a request, as a small number of one worker.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_balancer::Peer;

/// Numbers for peers, by what they are: the same workload behind two addresses is one peer.
pub(crate) struct Peers {
    numbers: HashMap<Arc<Peer>, u32>,
    peers: Vec<Option<Arc<Peer>>>,
}

/// Nobody knows who it is.
pub(crate) const NOBODY: u32 = 0;

impl Peers {
    pub(crate) fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            peers: vec![None],
        }
    }

    pub(crate) fn number(&mut self, peer: Option<&Arc<Peer>>) -> u32 {
        let Some(peer) = peer else { return NOBODY };
        if let Some(&number) = self.numbers.get(peer) {
            return number;
        }
        let number = self.peers.len() as u32;
        self.peers.push(Some(Arc::clone(peer)));
        self.numbers.insert(Arc::clone(peer), number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Peer>> {
        self.peers.get(number as usize)?.as_ref()
    }
}
