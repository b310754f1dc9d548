//! What is in flight on one multiplexed upstream connection: wire ids to requests.
//!
//! A wire id is a place in a ring and the number of times that the ring went round: no id comes back
//! before all others were used, so a reply that comes late names a request that is over, never
//! another one that is alive.

use crate::slots::Id;

#[derive(Clone, Copy)]
struct Place {
    wire: u64,
    request: Id,
}

/// What a reply's id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This request.
    Request(Id),
    /// A request that is over: it timed out, or its caller left.
    Late,
    /// Nothing that was ever sent on this connection.
    Unknown,
}

pub(crate) struct Flight {
    places: Vec<Place>,
    next: u64,
    max: u64,
    wrapped: bool,
    live: u32,
}

const EMPTY: Place = Place {
    wire: 0,
    request: Id::NONE,
};

impl Flight {
    /// For a protocol whose ids go up to `max`.
    pub(crate) const fn new(max: u64) -> Self {
        Self {
            places: Vec::new(),
            next: 1,
            max,
            wrapped: false,
            live: 0,
        }
    }

    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    /// A wire id for `request`; None when the protocol has no more of them.
    pub(crate) fn insert(&mut self, request: Id) -> Option<u64> {
        if (self.live as usize + 1) * 2 > self.places.len() {
            self.grow();
        }
        let mask = self.places.len() as u64 - 1;
        // At least half of the places are free, unless the protocol's ids are fewer than them.
        for _ in 0..=self.places.len() {
            let wire = self.next;
            self.next += 1;
            if self.next > self.max {
                self.next = 1;
                self.wrapped = true;
            }
            let place = &mut self.places[(wire & mask) as usize];
            if place.wire == 0 {
                *place = Place { wire, request };
                self.live += 1;
                return Some(wire);
            }
        }
        None
    }

    /// What `wire` names; a request found is taken out.
    pub(crate) fn remove(&mut self, wire: u64) -> Found {
        let found = self.get(wire);
        if let Found::Request(_) = found {
            let mask = self.places.len() as u64 - 1;
            self.places[(wire & mask) as usize] = EMPTY;
            self.live -= 1;
        }
        found
    }

    /// What `wire` names.
    pub(crate) fn get(&self, wire: u64) -> Found {
        if wire == 0 || wire > self.max || (wire >= self.next && !self.wrapped) {
            return Found::Unknown;
        }
        let mask = (self.places.len() as u64).wrapping_sub(1);
        match self.places.get((wire & mask) as usize) {
            Some(place) if place.wire == wire => Found::Request(place.request),
            _ => Found::Late,
        }
    }

    /// All requests in flight.
    pub(crate) fn requests(&self) -> Vec<Id> {
        self.places
            .iter()
            .filter(|place| place.wire != 0)
            .map(|place| place.request)
            .collect()
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(16);
        let mut bigger = vec![EMPTY; size];
        let mask = size as u64 - 1;
        // Ids that shared no place in the smaller ring share none in the bigger one.
        for place in self.places.iter().filter(|place| place.wire != 0) {
            bigger[(place.wire & mask) as usize] = *place;
        }
        self.places = bigger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> Id {
        Id {
            index,
            generation: 1,
        }
    }

    #[test]
    fn a_late_reply_names_no_other_request_though_its_place_is_used_again() {
        let mut flight = Flight::new(u64::from(u32::MAX));
        let first = flight.insert(id(1)).unwrap();
        assert_eq!(flight.remove(first), Found::Request(id(1)));
        for index in 2..100_000 {
            let wire = flight.insert(id(index)).unwrap();
            assert_ne!(wire, first);
            assert_eq!(flight.get(first), Found::Late);
            assert_eq!(flight.remove(wire), Found::Request(id(index)));
        }
        assert_eq!(flight.get(u64::from(u32::MAX)), Found::Unknown);
    }

    #[test]
    fn ids_stay_right_while_the_ring_grows_and_slow_requests_stay() {
        let mut flight = Flight::new(1000);
        let mut wires = Vec::new();
        for index in 0..400 {
            wires.push((flight.insert(id(index)).unwrap(), id(index)));
            if index % 3 == 0 {
                let (wire, request) = wires.remove(wires.len() / 2);
                assert_eq!(flight.remove(wire), Found::Request(request));
            }
        }
        for (wire, request) in wires {
            assert_eq!(flight.remove(wire), Found::Request(request));
        }
        assert_eq!(flight.live(), 0);
    }

    #[test]
    fn a_protocol_with_few_ids_runs_out_instead_of_using_one_twice() {
        let mut flight = Flight::new(3);
        let wires: Vec<_> = (0..3).map(|index| flight.insert(id(index))).collect();
        assert_eq!(wires, [Some(1), Some(2), Some(3)]);
        assert_eq!(flight.insert(id(9)), None);
        assert_eq!(flight.remove(2), Found::Request(id(1)));
        assert_eq!(flight.insert(id(9)), Some(2));
    }
}
